//! Days, hours and who works when.

use sensor_core::time::{HOUR, Time};

/// ns of a day.
pub const DAY: u64 = 24 * HOUR;
/// When a simulation begins: a Monday at midnight.
pub const START: Time = Time::at(7 * DAY);

/// The day of a simulation, 0 being its first.
pub fn day(time: Time) -> u64 {
    time.since(START) / DAY
}

/// The hour of the day, 0 to below 24, with its fraction.
pub fn hour(time: Time) -> f64 {
    (time.since(START) % DAY) as f64 / HOUR as f64
}

/// Whether it is Saturday or Sunday.
pub fn is_weekend(time: Time) -> bool {
    day(time) % 7 >= 5
}

/// The first moment from `after` on at this hour of a day.
pub fn next_at(after: Time, at_hour: f64) -> Time {
    let midnight = START.plus(day(after) * DAY);
    let at = (at_hour * HOUR as f64) as u64;
    let today = midnight.plus(at);
    if today >= after { today } else { today.plus(DAY) }
}

/// When something is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hours {
    /// Round the clock.
    Always,
    /// By people on shifts: less at night.
    Shifts,
    /// By people on weekdays.
    Office,
}

impl Hours {
    /// How busy it is, 0 to 1.
    pub fn busy(self, time: Time) -> f64 {
        let hour = hour(time);
        match self {
            Hours::Always => 1.0,
            Hours::Shifts if (7.5..20.0).contains(&hour) && !is_weekend(time) => 1.0,
            Hours::Shifts if (7.5..20.0).contains(&hour) => 0.6,
            Hours::Shifts => 0.3,
            Hours::Office if (8.0..18.0).contains(&hour) && !is_weekend(time) => 1.0,
            Hours::Office => 0.05,
        }
    }
}
