//! Whether the clock can be trusted to tell how old something is: before the time is known from elsewhere it may be years wrong,
//! and what is taken away by it is gone.

use std::time::Duration;

/// So long it must have gone without being set.
const LONG: Duration = Duration::from_secs(3_600);
/// A clock that goes wrong by more than this was set.
const SET: Duration = Duration::from_secs(60);

/// How the clock goes.
#[derive(Default)]
pub struct Steady {
    /// The clock when it began to go steadily, ns since 1970, and how long the daemon ran by then.
    since: Option<(i64, Duration)>,
}

impl Steady {
    /// Whether it has gone for an hour without being set; `ran` is how long the daemon runs by a clock that is never set.
    pub fn is(&mut self, now_ns: i64, ran: Duration) -> bool {
        let (clock, begun) = *self.since.get_or_insert((now_ns, ran));
        let since = ran.saturating_sub(begun);
        let went = i128::from(now_ns) - i128::from(clock);
        if (went - since.as_nanos() as i128).unsigned_abs() > SET.as_nanos() {
            self.since = Some((now_ns, ran));
            return false;
        }
        since >= LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_trusted_once_it_went_for_an_hour_without_being_set() {
        let mut steady = Steady::default();
        let mut is = |clock_secs: i64, ran_secs: u64| {
            steady.is(clock_secs * 1_000_000_000, Duration::from_secs(ran_secs))
        };
        assert!(!is(0, 0), "1970: nobody told it the time yet");
        assert!(!is(1_800_000_000, 10), "it was set");
        assert!(!is(1_800_003_599, 3_609) && is(1_800_003_600, 3_610));
        assert!(!is(2_100_000_000, 3_620), "ten years on");
        assert!(!is(1_800_003_620, 3_630) && !is(i64::MAX / 1_000_000_000, 3_640));
    }
}
