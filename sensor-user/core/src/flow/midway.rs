//! Conversations that go on over a restart of the daemon. The data path told an earlier run of their flows, and does not
//! tell them again; so they are taken up from how they go on, as what they are: old ones. The detectors are not told that
//! they began, and what went before is not held against anybody; but what is about to be cut off is known to be in use.

use super::{Conversation, Conversations, Half, Key, Track, read};
use crate::event::Earlier;
use crate::observation::{FlowProgress, FlowSeen, Verdict};
use crate::time::Time;

impl Conversations {
    /// From now on flows that began before `now` are taken up as they go on.
    pub fn watch_from(&mut self, now: Time) {
        self.watched_since = Some(now);
    }

    /// Takes up an old flow that is not known yet, or the other direction of one that was taken up; true if it did.
    pub(super) fn enter_midway(&mut self, key: Key, progress: &FlowProgress) -> bool {
        if self.watched_since.is_none_or(|since| progress.first >= since) || progress.end.is_some() {
            return false;
        }
        if let Some(conversation) = self.table.get_mut(&key) {
            return conversation.enter_other(progress);
        }
        // What would be forgotten for it was seen from its beginning.
        if self.table.is_full() {
            return false;
        }
        self.table.put(key, Conversation::midway(progress));
        true
    }

    /// Whether a flow that is told now was taken up before its record was read: nobody has been told of it yet.
    pub(super) fn is_untold(&self, key: &Key, seen: &FlowSeen) -> bool {
        self.watched_since.is_some_and(|since| seen.time < since)
            && self.table.peek(key).is_some_and(|conversation| conversation.earlier.is_some())
    }
}

impl Conversation {
    fn midway(progress: &FlowProgress) -> Self {
        let current = read(progress);
        let track = Track { seen: true, told: true, live: true, current, ..Track::default() };
        let earlier = Earlier { until: progress.time, to_server: current, to_client: Half::default() };
        let mut conversation = Self {
            id: progress.id,
            smac: progress.smac,
            dmac: progress.dmac,
            start: progress.first,
            last: progress.last,
            touched: progress.time,
            refused: false,
            halves: [track, Track::default()],
            inner: None,
            verdict: Verdict::Pass,
            earlier: Some(Box::new(earlier)),
        };
        conversation.judge_all(progress);
        conversation
    }

    /// Takes up the other direction, if this is one that was taken up. Which one began is told by their times alone.
    fn enter_other(&mut self, progress: &FlowProgress) -> bool {
        let is_other = self.id.src != progress.id.src && !self.halves[1].seen;
        let Some(earlier) = self.earlier.as_mut().filter(|_| is_other) else { return false };
        let current = read(progress);
        self.halves[1] = Track { seen: true, told: true, live: true, current, ..Track::default() };
        earlier.to_client = current;
        (self.last, self.touched) = (self.last.max(progress.last), progress.time);
        if progress.first < self.start {
            std::mem::swap(&mut earlier.to_server, &mut earlier.to_client);
            self.halves.reverse();
            (self.id, self.start) = (progress.id, progress.first);
            (self.smac, self.dmac) = (progress.smac, progress.dmac);
        }
        self.judge_all(progress);
        true
    }

    fn judge_all(&mut self, progress: &FlowProgress) {
        if progress.drops > 0 {
            self.judge(progress.verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{ACK, FlowId, TCP};
    use super::*;
    use crate::addr::Mac;
    use crate::observation::{EndReason, Kind};
    use crate::time::SECOND;

    const NOW: Time = Time::at(1_000 * SECOND);

    fn id(back: bool) -> FlowId {
        let (src, dst) = ("10.0.0.7".parse().unwrap(), "10.0.0.9".parse().unwrap());
        let id = FlowId { src, dst, sport: 40_000, dport: 104, proto: TCP, kind: Kind::Ip, vlan: 0, port: 1 };
        if back { FlowId { port: 2, ..super::super::reversed(&id) } } else { id }
    }

    /// How a direction of a conversation that began ten seconds before the restart is `after` s after it.
    fn went(back: bool, after: u64, packets: u64) -> FlowProgress {
        let [client, server] = [7, 9].map(|n| Mac([2, 0, 0, 0, 0, n]));
        let (smac, dmac) = if back { (server, client) } else { (client, server) };
        let (time, first) = (NOW.plus(after * SECOND), Time::at(NOW.ns() - 10 * SECOND + u64::from(back)));
        let (bytes, last, verdict) = (packets * 100, time, Verdict::Pass);
        FlowProgress {
            time,
            id: id(back),
            smac,
            dmac,
            packets,
            bytes,
            drops: 0,
            verdict,
            first,
            last,
            tcp_flags: ACK,
            end: None,
        }
    }

    #[test]
    fn an_old_conversation_is_taken_up_as_it_goes_on_whichever_direction_is_read_first() {
        for first in [false, true] {
            let mut all = Conversations::new(10);
            all.watch_from(NOW);
            for back in [first, !first] {
                assert_eq!(all.progress(&went(back, 1, 500)), None, "what went before is no news");
            }
            let talks = all.talks(&BTreeSet::from(["10.0.0.7".parse().unwrap()]));
            assert_eq!(
                talks.iter().map(|talk| (talk.id, talk.smac.0[5])).collect::<Vec<_>>(),
                [(id(false), 7)]
            );
            let passage = all.progress(&went(true, 2, 530)).unwrap();
            assert_eq!((passage.id, passage.answered, passage.more.packets), (id(false), true, 30));
            let over = |back| FlowProgress { end: Some(EndReason::Closed), ..went(back, 3, 540) };
            assert_eq!(all.progress(&over(false)).unwrap().ended, None);
            let ended = all.progress(&over(true)).unwrap().ended.unwrap();
            let earlier = ended.earlier.unwrap();
            assert_eq!((ended.start, earlier.until), (went(false, 0, 0).first, NOW.plus(SECOND)));
            assert_eq!((ended.to_client.packets, earlier.to_client.packets), (540, 500));
            assert_eq!((ended.to_server.packets, earlier.to_server.packets), (540, 500));
        }
    }

    #[test]
    fn what_is_new_or_over_or_finds_no_room_is_not_taken_up() {
        let mut all = Conversations::new(1);
        assert_eq!(all.progress(&went(false, 1, 5)), None);
        assert!(all.is_empty(), "no earlier run");
        all.watch_from(NOW);
        all.progress(&FlowProgress { first: NOW, ..went(false, 1, 5) });
        all.progress(&FlowProgress { end: Some(EndReason::Timeout), ..went(false, 1, 5) });
        assert!(all.is_empty());
        all.progress(&went(false, 1, 5));
        let other = FlowId { sport: 40_001, ..id(false) };
        all.progress(&FlowProgress { id: other, ..went(false, 1, 5) });
        assert_eq!((all.len(), all.evicted), (1, 0));
        assert_eq!(all.all().next().unwrap().id, id(false));
    }

    #[test]
    fn one_whose_record_was_not_read_yet_is_new_all_the_same() {
        use super::super::Role;
        use super::super::tests::seen;
        let record = |before: u64| {
            let FlowProgress { id, smac, dmac, .. } = went(false, 0, 0);
            FlowSeen { time: Time::at(NOW.ns() - before), id, smac, dmac, ..seen(Verdict::Pass) }
        };
        let mut all = Conversations::new(10);
        all.watch_from(NOW);
        all.progress(&went(false, 1, 5));
        assert_eq!(all.begin(&record(10 * SECOND)).0, Role::Opens, "a contact of the time without a daemon");
        let passage = all.progress(&went(false, 2, 6)).unwrap();
        assert_eq!(passage.more.packets, 6, "all of it is news");
    }
}
