//! Which automatic restrictions a person must approve.

use sensor_core::policy::Level;
use sensor_core::policy::class::Asks;
use sensor_core::settings::Otherwise;

use super::item::{Item, Read};

/// From which level on a person is asked.
const FROM: [(&str, Option<Level>); 4] = [
    ("none", None),
    ("throttle", Some(Level::Throttle)),
    ("pin", Some(Level::Pin)),
    ("isolate", Some(Level::Isolate)),
];

/// The level from which on a person is asked; none: nobody is.
pub fn from(item: &Item) -> Read<Option<Level>> {
    item.choice(&FROM)
}

/// The same, for a class.
pub fn asks(item: &Item) -> Read<Asks> {
    Ok(from(item)?.map_or(Asks::Never, Asks::From))
}

/// What is done when nobody said anything in time.
pub fn otherwise(item: &Item) -> Read<Otherwise> {
    item.choice(&[("alert", Otherwise::Alert), ("act", Otherwise::Act)])
}

/// What is done meanwhile.
pub fn meanwhile(item: &Item) -> Read<Option<Level>> {
    item.choice(&[("nothing", None), ("throttle", Some(Level::Throttle)), ("pin", Some(Level::Pin))])
}
