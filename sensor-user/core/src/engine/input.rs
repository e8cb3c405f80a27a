//! All that comes into the engine while it runs, noted down where that is wanted, so that it can be decided anew.

use std::collections::BTreeMap;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Command, Engine, Output};
use crate::coverage::Sight;
use crate::detect::unusual::InForce;
use crate::event::Blind;
use crate::identify::heard::Heard;
use crate::model::drift::Parting;
use crate::model::file;
use crate::observation::Observation;
use crate::policy::Name;
use crate::time::Time;

/// Bytes of notes that may wait to be fetched: beyond them it is only said that some are missing.
const MAX_NOTES: usize = 64 << 20;

/// All that changes what the engine has in mind, but for what it starts with: each is a call of one of its functions.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub enum Input {
    /// [`Engine::observe`].
    Observation(Observation),
    /// [`Engine::tick`].
    Tick(Time),
    /// [`Engine::lost_sight`].
    LostSight(Time),
    /// [`Engine::sight`].
    Sight(Sight),
    /// [`Engine::blind`].
    Blind(Blind, Time),
    /// [`Engine::set_ports`].
    Ports(BTreeMap<u8, Name>),
    /// [`Engine::reached`]: the counts, since when, and now.
    Reached(BTreeMap<u64, u32>, Time, Time),
    /// [`Engine::command`].
    Command(Time, Box<Command>),
    /// [`Engine::put_model`].
    Model(InForce),
    /// [`Engine::parted`].
    Parted(Vec<Parting>, String, Time),
    /// [`Engine::finish`].
    Finish(Time),
    /// [`Engine::hear`].
    Heard(Box<Heard>),
}

/// What was noted down since the last time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// One [`Input`] behind the other.
    pub bytes: Vec<u8>,
    /// Inputs that are missing, for nobody fetched those before.
    pub missing: u64,
}

impl Engine {
    /// From now on what comes in is noted down.
    pub fn take_notes(&mut self) {
        self.notes = Some(Notes::default());
    }

    /// Fetches what was noted down since the last time; none if nothing is.
    pub fn fetch_notes(&mut self) -> Option<Notes> {
        self.notes.as_mut().map(std::mem::take)
    }

    /// Takes in what was noted down.
    pub fn take_in(&mut self, input: Input, out: &mut Output) {
        match input {
            Input::Observation(observation) => self.observe(&observation, out),
            Input::Tick(now) => self.tick(now, out),
            Input::LostSight(until) => self.lost_sight(until),
            Input::Sight(sight) => self.sight(sight),
            Input::Blind(blind, now) => self.blind(blind, now, out),
            Input::Ports(ports) => self.set_ports(ports),
            Input::Reached(counts, since, now) => self.reached(&counts, since, now, out),
            // What was refused then is refused again.
            Input::Command(now, command) => drop(self.command(now, *command, out)),
            Input::Model(in_force) => self.put_model(in_force),
            Input::Parted(partings, golden, now) => self.parted(&partings, &golden, now, out),
            Input::Finish(now) => self.finish(now, out),
            Input::Heard(heard) => self.hear(&heard, out),
        }
    }

    /// Notes down what comes in, if that is wanted.
    pub(super) fn note(&mut self, input: impl FnOnce() -> Input) {
        let Some(notes) = &mut self.notes else { return };
        let written = notes.bytes.len();
        if written >= MAX_NOTES || input().serialize(&mut notes.bytes).is_err() {
            notes.bytes.truncate(written);
            notes.missing += 1;
        }
    }
}

impl BorshSerialize for InForce {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        (file::write(&self.model), &self.hash).serialize(writer)
    }
}

impl BorshDeserialize for InForce {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (model, hash) = <(Vec<u8>, String)>::deserialize_reader(reader)?;
        Ok(Self { model: file::read(&model).map_err(io::Error::other)?.into(), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn notes_that_nobody_fetches_are_bounded_and_their_loss_is_told() {
        let mut engine = Engine::new(Settings::default());
        let ports: BTreeMap<_, _> = (0..=255).map(|at| (at, format!("port{at}").parse().unwrap())).collect();
        engine.set_ports(ports.clone());
        assert_eq!(engine.fetch_notes(), None, "nobody wanted any");
        engine.take_notes();
        engine.set_ports(ports.clone());
        let one = engine.fetch_notes().unwrap();
        let room = MAX_NOTES.div_ceil(one.bytes.len());
        for _ in 0..room + 3 {
            engine.set_ports(ports.clone());
        }
        let notes = engine.fetch_notes().unwrap();
        assert_eq!((notes.bytes.len(), notes.missing), (room * one.bytes.len(), 3));
        engine.tick(Time::at(1), &mut Output::default());
        let mut bytes = &engine.fetch_notes().unwrap().bytes[..];
        assert!(
            matches!(Input::deserialize(&mut bytes), Ok(Input::Tick(now)) if now == Time::at(1))
                && bytes.is_empty()
        );
    }
}
