//! What the program is measured against.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;

use crate::lab::run;

/// Loads xdp-filter with all features on an interface of this namespace, and has it drop what comes from `dropped`. It
/// needs a BPF file system at /sys/fs/bpf.
///
/// # Errors
///
/// If xdp-tools is not installed, or refuses.
pub fn xdp_filter(interface: &str, dropped: &str) -> Result<Xdp> {
    let hint = "xdp-filter is Debian's xdp-tools: apt-get install xdp-tools";
    // With its dispatcher it would be an extension of another program, which cannot be run by itself.
    let skip = "LIBXDP_SKIP_DISPATCHER=1";
    run("env", &[skip, "xdp-filter", "load", "--mode", "native", interface]).context(hint)?;
    run("xdp-filter", &["ip", dropped, "--mode", "src"])?;
    let pin = Path::new("/sys/fs/bpf/xdp-filter/programs").join(interface).join("xdpfilt_alw_all");
    Xdp::from_pin(&pin, XdpAttachType::Interface).with_context(|| format!("opening {}", pin.display()))
}

/// Has nftables' bridge table drop what comes from an address, before the bridge looks at it.
///
/// # Errors
///
/// If nftables is not installed, or refuses.
pub fn nftables(dropped: &str) -> Result<()> {
    let chain = "type filter hook prerouting priority -300;";
    let table = format!("table bridge filter {{ chain early {{ {chain} ip saddr {dropped} drop; }}; }}");
    run("nft", &[&table]).context("nftables is Debian's nftables: apt-get install nftables").map(drop)
}

/// Has ebtables drop what comes from an address, in the earliest of its chains.
///
/// # Errors
///
/// If it is not installed, or refuses.
pub fn ebtables(dropped: &str) -> Result<()> {
    let chain = ["-t", "nat", "-A", "PREROUTING", "-p", "IPv4", "--ip-src", dropped, "-j", "DROP"];
    // Not every kernel has the older kind, ebtables-legacy.
    run("ebtables-nft", &chain)
        .context("ebtables-nft is Debian's iptables: apt-get install iptables")
        .map(drop)
}
