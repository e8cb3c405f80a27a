//! What hosts ask for while records are lost: the kernel counts on, and the count is looked at then.

use std::collections::{BTreeMap, HashMap};

use sensor_core::engine::{Engine, Output};
use sensor_core::time::{MINUTE, Time};

use crate::bpf::{BpfError, Counters};

/// The counts as they were read last.
#[derive(Default)]
pub struct Reached {
    last: Option<(Time, HashMap<u64, u64>)>,
}

impl Reached {
    /// Reads the counts once a minute, and when records were lost; then the engine is told what came since the last time.
    pub fn look(
        &mut self,
        lost: bool,
        now: Time,
        counters: &Counters,
        engine: &mut Engine,
        out: &mut Output,
    ) -> Result<(), BpfError> {
        if !lost && self.last.as_ref().is_some_and(|(read, _)| now.since(*read) < MINUTE) {
            return Ok(());
        }
        let news = counters.news()?;
        if let (true, Some((since, before))) = (lost, &self.last) {
            let more = |(host, count): (&u64, &u64)| {
                // One that is less was forgotten meanwhile, and began anew.
                let before = before.get(host).copied().filter(|before| before <= count).unwrap_or(0);
                (*host, u32::try_from(count - before).unwrap_or(u32::MAX))
            };
            let more: BTreeMap<_, _> = news.iter().map(more).filter(|(_, count)| *count > 0).collect();
            engine.reached(&more, *since, now, out);
        }
        self.last = Some((now, news));
        Ok(())
    }
}
