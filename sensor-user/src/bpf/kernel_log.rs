//! Messages of the program itself, into the log of the daemon.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{BpfError, chain};

/// The program's messages, which are few: it never logs a frame.
pub struct KernelLog {
    logger: EbpfLogger<&'static dyn Log>,
}

impl KernelLog {
    /// Opens the log of a loaded object.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        let logger = EbpfLogger::init(ebpf)
            .map_err(|error| BpfError::Object(format!("the program's log: {}", chain(&error))))?;
        Ok(Self { logger })
    }

    /// Passes messages on to the [`log`] crate as they come, until dropped. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// Those of epoll(7).
    pub async fn forward(self) -> io::Result<()> {
        // SAFETY: the logger gives the descriptor of the map it owns, which is the same as long as it lives.
        let logger = unsafe { AsyncFd::register_with_interest(self.logger, Interest::READABLE) };
        // The error has the logger in it; only its cause is for telling.
        let mut logger = logger.map_err(|error| error.into_parts().1)?;
        // What came before the first wait does not wake anybody.
        logger.get_mut().flush();
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.clear_ready();
            ready.get_inner_mut().flush();
        }
    }
}
