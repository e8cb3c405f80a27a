//! People are told: events in, and what arrives at real mail servers, lamps, web servers, receivers of traps and of syslog.

// Tests may.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod events;
mod forms;
mod lamps;
mod logs;
mod mail;
mod peers;
mod web;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use sensor_core::event::Timed;
use sensor_notify::place::Segments;
use sensor_notify::settings::{Channel, Language, Means, Peer, Rule, Settings};
use sensor_notify::{ChannelInfo, Notifier};

/// A peer on this machine.
fn local(port: u16) -> Peer {
    Peer { host: "localhost".to_owned(), port }
}

fn settings(channels: Vec<(&str, Means)>) -> Settings {
    let channel = |means| Channel { means, language: Language::Both };
    let channels: BTreeMap<_, _> =
        channels.into_iter().map(|(name, means)| (name.to_owned(), channel(means))).collect();
    // Everything to everybody.
    let rule = Rule { severity: 3, channels: channels.keys().cloned().collect(), ..Rule::default() };
    let segments = Segments { ports: BTreeMap::new(), vlans: [(20, "radiology".to_owned())].into() };
    Settings { channels, rules: vec![rule], segments }
}

/// Those who are told, and what they wait for in a directory.
struct House {
    notifier: Notifier,
    ports: BTreeMap<u8, String>,
}

impl House {
    fn start(settings: Settings, dir: &Path) -> Self {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let notifier = Notifier::start(settings, dir, "sekisho-box", tokyo).unwrap();
        Self { notifier, ports: [(1, "eth1".to_owned())].into() }
    }

    fn tell(&mut self, timed: &Timed) {
        // The engine's clock began 1,000 s ago.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        self.notifier.tell(timed, now - 1_000_000_000_000, &self.ports, Some(2_500_000));
    }

    fn channel(&self, name: &str) -> ChannelInfo {
        self.notifier.channels().into_iter().find(|channel| channel.name == name).unwrap()
    }

    /// Waits until that holds of a channel.
    fn wait(
        &self,
        name: &str,
        what: &str,
        seconds: u64,
        holds: impl Fn(&ChannelInfo) -> bool,
    ) -> ChannelInfo {
        peers::until(what, seconds, || Some(self.channel(name)).filter(|channel| holds(channel)))
    }

    /// What comes of it that a person knows: how many alarms ended, and the incidents that are still shown.
    fn acknowledge(&self, incident: Option<u64>) -> (usize, Vec<u64>) {
        let (said, answer) = std::sync::mpsc::channel();
        self.notifier.acknowledge(incident, Box::new(move |known| said.send(known).unwrap()));
        let known = answer.recv_timeout(std::time::Duration::from_secs(60)).unwrap().unwrap();
        (known.ended, known.open.into_iter().collect())
    }

    /// What comes of a test.
    fn test(&self, name: &str) -> Result<String, String> {
        let (said, answer) = std::sync::mpsc::channel();
        let reply = move |result| said.send(result).unwrap();
        self.notifier.test(name.to_owned(), "root".to_owned(), Box::new(reply));
        answer.recv_timeout(std::time::Duration::from_secs(60)).unwrap()
    }
}
