//! A decision made anew from the record: the state of then, the configuration and the models of then, and the inputs that
//! came; the lines it tells are held against those that were told.

use std::path::Path;

use borsh::BorshDeserialize;
use sensor_core::engine::{Engine, Input, Output};
use sensor_core::settings::Mode;
use sensor_core::state::{State, THINKING};
use serde_json::Value;

use super::read::{Pieces, of_incident};
use super::{Begin, Piece, RecordError, Told, is_of_incident};
use crate::clock::WallClock;
use crate::config::{self, Config};
use crate::eve::Teller;
use crate::makers;

/// A decision that was made, and made anew.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Again {
    /// The lines told then.
    pub recorded: Vec<Value>,
    /// The lines told now.
    pub anew: Vec<Value>,
}

/// Makes the decisions about an incident anew. `change`: with this key of the configuration changed to this; then lines of
/// its device count, for it may have another number. `progress` is told the part of the work that is done, 0 to 1.
///
/// # Errors
///
/// [`RecordError`].
pub fn decide(
    dir: &Path,
    incident: u64,
    change: Option<(&str, &str)>,
    mut progress: impl FnMut(f64),
) -> Result<Again, RecordError> {
    let segments = of_incident(dir, incident)?;
    let mut again = Again::default();
    for (at, path) in segments.iter().enumerate() {
        let told = told(path, incident)?;
        let mac = told.first().map(|(_, line)| line["device"]["mac"].clone()).unwrap_or_default();
        let wanted = |line: &Value| match change {
            None => line["incident_id"] == incident,
            Some(_) => line["device"]["mac"] == mac,
        };
        let mut player = Player::open(path, change)?;
        let offsets: Vec<i64> = told.iter().map(|(told, _)| told.offset_ns).collect();
        again.recorded.extend(told.into_iter().map(|(_, line)| line));
        let before = again.anew.len();
        while player.step()? {
            player.out.parts.clear();
            for event in player.out.events.drain(..).filter(|timed| is_of_incident(&timed.event)) {
                let place = (again.anew.len() - before).min(offsets.len().saturating_sub(1));
                player.teller.clock = WallClock { offset_ns: offsets.get(place).copied().unwrap_or(0) };
                let line = player.teller.value(&event, None);
                if !line["incident_id"].is_null() && wanted(&line) {
                    again.anew.push(line);
                }
            }
            progress((at as f64 + player.done()) / segments.len() as f64);
        }
    }
    Ok(again)
}

/// The lines told of an incident.
fn told(path: &Path, incident: u64) -> Result<Vec<(Told, Value)>, RecordError> {
    let mut pieces = Pieces::open(path)?;
    let mut lines = Vec::new();
    while let Some(piece) = pieces.next()? {
        if let Piece::Told(told) = piece
            && told.incident == incident
        {
            let line = serde_json::from_str(&told.line).map_err(|error| damaged(path, &error))?;
            lines.push((told, line));
        }
    }
    Ok(lines)
}

fn damaged(path: &Path, what: &dyn std::fmt::Display) -> RecordError {
    RecordError::Damaged { path: path.to_owned(), what: what.to_string() }
}

/// A segment on its way through a new engine.
struct Player<'a> {
    path: &'a Path,
    pieces: Pieces,
    engine: Engine,
    teller: Teller,
    out: Output,
}

impl<'a> Player<'a> {
    fn open(path: &'a Path, change: Option<(&str, &str)>) -> Result<Self, RecordError> {
        let mut pieces = Pieces::open(path)?;
        let Some(Piece::Begin(begin)) = pieces.next()? else {
            return Err(damaged(path, &"its beginning is missing"));
        };
        if begin.thinking != THINKING {
            return Err(RecordError::Other { path: path.to_owned(), release: begin.release });
        }
        let config = configure(path, &begin, change)?;
        let mut engine = Engine::new(config.settings);
        begin.models.into_iter().for_each(|model| engine.put_model(model));
        let mut state = &begin.state[..];
        engine.load(&mut state).map_err(|error| damaged(path, &error))?;
        let mut teller = Teller::new(WallClock::UNIX);
        teller.ports = begin.ports;
        Ok(Self { path, pieces, engine, teller, out: Output::default() })
    }

    /// Takes in the next piece; false at the end.
    fn step(&mut self) -> Result<bool, RecordError> {
        let Some(piece) = self.pieces.next()? else { return Ok(false) };
        let Piece::Inputs(bytes) = piece else { return Ok(true) };
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            let input = Input::deserialize(&mut bytes).map_err(|error| damaged(self.path, &error))?;
            if let Input::Ports(ports) = &input {
                self.teller.ports = ports.iter().map(|(index, name)| (*index, name.to_string())).collect();
            }
            self.engine.take_in(input, &mut self.out);
            // Carried out then, and remembered.
            self.out.decisions.clear();
            self.out.saves.clear();
        }
        Ok(true)
    }

    /// The part that is read, 0 to 1.
    fn done(&self) -> f64 {
        self.pieces.done()
    }
}

/// The configuration of then.
fn configure(path: &Path, begin: &Begin, change: Option<(&str, &str)>) -> Result<Config, RecordError> {
    let wrong = |problems: Vec<config::Problem>| RecordError::Config {
        path: path.to_owned(),
        what: config::told(&problems),
    };
    let mut config = config::parse(begin.config.as_bytes()).map_err(wrong)?;
    config.settings.mode = if begin.enforce { Mode::Enforce } else { Mode::Observe };
    if let Some((key, value)) = change {
        config = config::change(config, key, value).map_err(wrong)?;
    }
    config.settings.makers = makers::load(&config.daemon.oui_file);
    Ok(config)
}
