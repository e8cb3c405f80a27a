//! Network cards for the guests: what the tests of `bpf-tests/tests/cards` find in a machine with real ones.
//!
//! Each is on a cable with a plain card (virtio), at which the tests have a host: the MAC addresses 52:54:00:77:NN:00 and
//! 52:54:00:77:NN:01 are the two ends of cable NN. One that ends with 02 is on no cable.

use std::process::Command;

/// What the cards need of a kernel, besides what every guest loads; the kernels for virtual machines have few of them.
pub const MODULES: [&str; 7] = ["8021q", "bonding", "e1000e", "igb", "virtio_net", "virtio_pci", "vmxnet3"];

/// A card that QEMU has only since version 8.
pub const NEWEST: &str = "igb";

/// The cards on cables: one that runs XDP programs itself, one that never does, and one that merges segments.
const CARDS: [&str; 3] = [NEWEST, "e1000e", "vmxnet3"];
/// The other ends, and the card of which the tests want the features alone.
const PLAIN: &str = "virtio-net-pci";

/// Begins the command that starts a machine with cards: in a network of its own, where a tap is nobody's business.
pub fn network() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--"]);
    command
}

/// Puts the cards into the machine.
pub fn plug(command: &mut Command) {
    for (cable, card) in (1..).zip(CARDS) {
        for (end, model) in (0..).zip([card, PLAIN]) {
            let id = format!("cable{cable}end{end}");
            command.arg("-netdev").arg(format!("hubport,hubid={cable},id={id}"));
            device(command, model, &id, cable, end);
        }
    }
    // Only a tap lets a virtio card be given segments that were merged, and only then can it (hardware GRO).
    command.args(["-netdev", "tap,id=tap,ifname=tap0,script=no,downscript=no"]);
    device(command, PLAIN, "tap", CARDS.len() + 1, 2);
}

fn device(command: &mut Command, model: &str, id: &str, cable: usize, end: u8) {
    let mac = format!("52:54:00:77:{cable:02x}:{end:02x}");
    // Nobody starts from it, so that it needs no program to do so.
    command.arg("-device").arg(format!("{model},netdev={id},mac={mac},romfile="));
}
