//! Where events go besides standard output: the journal, and the file of `[eve]`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use sensor_core::engine::Engine;
use sensor_journal::{Keeper, Keeping};
use tokio::signal::unix::{SignalKind, signal};

use super::RunOptions;
use crate::clock::Stamp;
use crate::config::EveSettings;
use crate::control::Recall;
use crate::eve_file::EveFile;
use crate::journal::{self, Began};
use crate::models;
use crate::pipeline::{EveLog, Printer};

/// The journal. Without its thread the daemon does all else.
pub fn journal(dir: &Path, keeping: Keeping) -> Option<Keeper> {
    let keeper = Keeper::start(dir, keeping, || Stamp::now().0);
    keeper
        .map_err(|error| log::error!("cannot start the journal's thread: {error}; nothing is kept in it"))
        .ok()
}

/// Notes that the daemon began, and with what.
pub fn began(journal: &Keeper, options: &RunOptions, enforce: bool, config: &str, engine: &Engine) {
    let began = Began { bridge: &options.bridge, enforce, config, models: models::all_in_force(engine) };
    journal.add(journal::began(Stamp::now(), &began));
}

/// What the journal of a state directory knows of incidents of earlier runs.
pub fn recall(dir: &Path) -> Recall {
    let dir = dir.to_owned();
    Arc::new(move |incident| journal::former(&dir, incident))
}

/// The file of events, if one is configured. SIGHUP has it opened anew.
pub fn eve_log(eve: &EveSettings) -> Result<Option<EveLog>> {
    let reopen = Arc::new(AtomicBool::new(false));
    // Taken in any case, for a daemon must not end where there is nothing to be opened anew.
    let mut hangup = signal(SignalKind::hangup())?;
    let order = Arc::clone(&reopen);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            log::info!("SIGHUP: the file of events is opened anew with the next event");
            order.store(true, Ordering::Relaxed);
        }
    });
    let Some(path) = &eve.file else { return Ok(None) };
    let file = EveFile::new(path, eve.max_mib.saturating_mul(1 << 20), eve.keep, reopen);
    let printer = Printer::onto(path.display().to_string(), file).context("starting the thread of [eve]")?;
    Ok(Some(EveLog { kinds: eve.kinds.clone(), printer }))
}
