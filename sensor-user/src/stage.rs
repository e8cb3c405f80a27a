//! Two ports of our own on the bridge, between which a swap is proved, and a drill played.
//!
//! They are the ends of two veth pairs; what is sent into the other end of the one comes out of the other end of the other,
//! if the bridge forwards it.

use std::fs;
use std::thread;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, new_connection};
use tokio::runtime::Builder;

use crate::bpf::{BridgePort, LOCK_DIR, SensorLock};

/// The ports on the bridge.
const PORTS: [&str; 2] = ["skprove0", "skprove1"];
/// Their other ends.
const ENDS: [&str; 2] = ["skprove0t", "skprove1t"];

/// The ports; they are gone when this is dropped.
pub struct Stage {
    /// The ports on the bridge.
    pub ports: [BridgePort; 2],
    /// Interface indices of their other ends.
    pub ends: [u32; 2],
    _lock: SensorLock,
}

impl Stage {
    /// Makes the ports; they do not belong to the bridge yet. What one that was killed left behind is removed.
    pub async fn make() -> Result<Self> {
        let lock = SensorLock::acquire_stage(LOCK_DIR.as_ref())?;
        let (connection, handle, _) = new_connection().context("opening a netlink socket")?;
        let connection = tokio::spawn(connection);
        remove(&handle).await;
        let made = make(&handle, lock).await;
        if made.is_err() {
            remove(&handle).await;
        }
        connection.abort();
        made
    }

    /// Puts the ports on the bridge.
    pub async fn join(&self, bridge: u32) -> Result<()> {
        let (connection, handle, _) = new_connection().context("opening a netlink socket")?;
        let connection = tokio::spawn(connection);
        for port in &self.ports {
            let join = LinkUnspec::new_with_index(port.ifindex).controller(bridge).up().build();
            let joined = handle.link().set(join).execute().await;
            joined.with_context(|| format!("putting {} on the bridge", port.name))?;
        }
        connection.abort();
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Wherever this is dropped, perhaps within a runtime: it has one of its own, on a thread of its own.
        let gone = thread::spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (connection, handle, _) = new_connection()?;
                let connection = tokio::spawn(connection);
                remove(&handle).await;
                connection.abort();
                std::io::Result::Ok(())
            })
        });
        if !matches!(gone.join(), Ok(Ok(()))) {
            log::error!(
                "{} could not be removed: do it with `ip link del {}`",
                PORTS.join(" and "),
                PORTS[0]
            );
        }
    }
}

async fn make(handle: &Handle, lock: SensorLock) -> Result<Stage> {
    let mut indices = Vec::new();
    for (port, end) in PORTS.into_iter().zip(ENDS) {
        let pair = LinkVeth::new(port, end).build();
        handle.link().add(pair).execute().await.with_context(|| format!("making {port}"))?;
        for name in [port, end] {
            // Nothing but the frames of the proof is to come from them. Without IPv6 there is nothing to switch off.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
            let index = index(handle, name).await.with_context(|| format!("finding {name}"))?;
            handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
            indices.push(index);
        }
    }
    let [port0, end0, port1, end1] = indices[..] else { anyhow::bail!("an interface went missing") };
    let port = |name: &str, ifindex| BridgePort { ifindex, name: name.to_owned(), xdp: None };
    Ok(Stage { ports: [port(PORTS[0], port0), port(PORTS[1], port1)], ends: [end0, end1], _lock: lock })
}

/// Removes what is there of them.
async fn remove(handle: &Handle) {
    for name in PORTS {
        if let Some(index) = index(handle, name).await
            && let Err(error) = handle.link().del(index).execute().await
        {
            log::error!("{name} could not be removed: {error}");
        }
    }
}

async fn index(handle: &Handle, name: &str) -> Option<u32> {
    let mut links = handle.link().get().match_name(name).execute();
    Some(links.try_next().await.ok()??.header.index)
}
