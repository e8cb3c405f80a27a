//! MAC addresses by port: one that is at two ports in turns, and more new ones than there can be devices.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::finding;
use crate::addr::Mac;
use crate::detect::{Began, Finding, seconds};
use crate::event::Value;
use crate::inventory::capacity;
use crate::lru::Lru;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{MINUTE, Time};

/// Length of a window.
const WINDOW: u64 = MINUTE;
/// Moves within it that are too many: who roams goes back and forth once or twice.
const MOVES: u32 = 6;
/// If more than so many move as much, it is a loop of the network, and nobody's doing.
const LOOP: u32 = 4;
/// New MAC addresses at a port within it that are too many. macof, the tool for it, makes 100,000.
const NEW: u32 = 4_096;

#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Place {
    port: u8,
    window_start: Time,
    moves: u32,
}

#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Fresh {
    window_start: Time,
    count: u32,
}

/// Where MAC addresses are.
#[derive(Debug)]
pub struct Places {
    places: Lru<Mac, Place>,
    /// By port.
    fresh: BTreeMap<u8, Fresh>,
    /// When those counted began to move, and how many they are.
    restless: (Time, u32),
}

state!(Places { places, fresh, restless });

impl Places {
    /// Nobody was seen.
    pub fn new(settings: &Settings) -> Self {
        let places = Lru::new(capacity(settings.limits.devices));
        Self { places, fresh: BTreeMap::new(), restless: (Time::EARLIEST, 0) }
    }

    /// Ports may have other numbers now.
    pub fn rebooted(&mut self) {
        self.places.clear();
        self.fresh.clear();
    }

    /// Whether a MAC address changed its port within the last minute.
    pub fn has_moved(&self, mac: Mac, now: Time) -> bool {
        self.places.peek(&mac).is_some_and(|place| place.moves > 0 && now.since(place.window_start) < WINDOW)
    }

    /// Notes where a MAC address is.
    pub fn began(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let (seen, port) = (began.seen, began.seen.id.port);
        let (mac, now) = (seen.smac, seen.time);
        let Some(place) = self.places.get_mut(&mac) else {
            self.places.put(mac, Place { port, window_start: now, moves: 0 });
            return self.fresh(began, found);
        };
        if place.port == port {
            return;
        }
        let over = now.since(place.window_start) >= WINDOW || place.window_start < began.clean_since;
        let moves = if over { 0 } else { place.moves } + 1;
        *place = Place { port, moves, window_start: if over { now } else { place.window_start } };
        if moves != MOVES {
            return;
        }
        let first = place.window_start;
        if now.since(self.restless.0) >= WINDOW {
            self.restless = (now, 0);
        }
        self.restless.1 += 1;
        if self.restless.1 <= LOOP {
            let evidence =
                vec![("moves", Value::Count(u64::from(moves))), ("seconds", seconds(now.since(first)))];
            let signature = "a MAC address is at two ports in turns";
            found.push(finding(signature, 3, mac, seen.id, first, evidence));
        }
    }

    /// Counts a new MAC address.
    fn fresh(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let (seen, now) = (began.seen, began.seen.time);
        let new = Fresh { window_start: now, count: 0 };
        let fresh = self.fresh.entry(seen.id.port).or_insert(new);
        if now.since(fresh.window_start) >= WINDOW {
            *fresh = new;
        }
        fresh.count += 1;
        if fresh.count == NEW {
            let evidence = vec![
                ("mac_addresses", Value::Count(u64::from(NEW))),
                ("seconds", seconds(now.since(fresh.window_start))),
            ];
            let signature = "MAC flood: more new MAC addresses at a port than there can be devices";
            found.push(finding(signature, 3, seen.smac, seen.id, fresh.window_start, evidence));
        }
    }
}
