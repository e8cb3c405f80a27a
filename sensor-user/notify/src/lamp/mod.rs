//! Patrol lamps: how one looks for what is open, and the maker's protocols to have it look so.

pub mod alarms;
pub mod http;
pub mod keeper;
pub mod pns;
pub mod snmp;

use std::fmt;
use std::str::FromStr;

use crate::error::SendError;
use crate::send::net;
use crate::settings::LampProtocol;

/// A light of the lamp, from the top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Tier 1.
    Red,
    /// Tier 2, also called amber.
    Yellow,
    /// Tier 3.
    Green,
    /// Tier 4.
    Blue,
    /// Tier 5.
    White,
}

impl Colour {
    const ALL: [(&str, Self); 5] = [
        ("red", Self::Red),
        ("yellow", Self::Yellow),
        ("green", Self::Green),
        ("blue", Self::Blue),
        ("white", Self::White),
    ];

    /// Its place, from the top, from 0.
    pub const fn tier(self) -> usize {
        match self {
            Self::Red => 0,
            Self::Yellow => 1,
            Self::Green => 2,
            Self::Blue => 3,
            Self::White => 4,
        }
    }
}

/// How a light shines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Light {
    /// Steadily.
    On,
    /// Slowly on and off.
    Blink,
    /// Fast.
    Flash,
}

/// How the lamp looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// The light; none: it is dark.
    pub light: Option<(Colour, Light)>,
    /// Whether it sounds.
    pub buzzer: bool,
}

impl Look {
    /// Whether nothing shines or sounds.
    pub const fn is_dark(&self) -> bool {
        self.light.is_none() && !self.buzzer
    }
}

impl FromStr for Look {
    type Err = &'static str;

    /// `red blink buzzer`, `yellow on`, `off`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HINT: &str = "a colour (red, yellow, green, blue, white), `on`, `blink` or `flash`, and `buzzer` if it is to sound; or `off`";
        let words: Vec<&str> = text.split_whitespace().collect();
        let (words, buzzer) = match words.as_slice() {
            ["off"] => return Ok(Self::default()),
            [rest @ .., "buzzer"] => (rest, true),
            rest => (rest, false),
        };
        let [colour, light] = words else { return Err(HINT) };
        let colour = Colour::ALL.iter().find(|(name, _)| name == colour).ok_or(HINT)?.1;
        let light = match *light {
            "on" => Light::On,
            "blink" => Light::Blink,
            "flash" => Light::Flash,
            _ => return Err(HINT),
        };
        Ok(Self { light: Some((colour, light)), buzzer })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((colour, light)) = self.light else { return f.write_str("off") };
        let name = Colour::ALL.iter().find(|(_, one)| *one == colour).map_or("", |(name, _)| name);
        let light = match light {
            Light::On => "on",
            Light::Blink => "blink",
            Light::Flash => "flash",
        };
        write!(f, "{name} {light}{}", if self.buzzer { " buzzer" } else { "" })
    }
}

/// How the lamp looks for each severity, the gravest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looks(pub [Look; 3]);

impl Default for Looks {
    /// Red, blinking and sounding; yellow; nothing.
    fn default() -> Self {
        let high = Look { light: Some((Colour::Red, Light::Blink)), buzzer: true };
        let medium = Look { light: Some((Colour::Yellow, Light::On)), buzzer: false };
        Self([high, medium, Look::default()])
    }
}

impl Looks {
    /// The look for a severity; none: nothing is open.
    pub fn of(&self, severity: Option<u8>) -> Look {
        let look = severity.and_then(|severity| self.0.get(usize::from(severity.saturating_sub(1))));
        look.copied().unwrap_or_default()
    }

    /// Which lights are ours: those that some look uses.
    pub fn tiers(&self) -> [bool; 5] {
        let mut tiers = [false; 5];
        for (colour, _) in self.0.iter().filter_map(|look| look.light) {
            tiers[colour.tier()] = true;
        }
        tiers
    }
}

/// What each light and the buzzer is told: none leaves it as it is, for it is not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The lights, from the top; `Some(None)` is off.
    pub tiers: [Option<Option<Light>>; 5],
    /// The buzzer.
    pub buzzer: bool,
}

impl Wanted {
    /// This look, on a lamp where those lights are ours.
    pub fn new(look: Look, ours: [bool; 5]) -> Self {
        let mut tiers = ours.map(|ours| ours.then_some(None));
        if let Some((colour, light)) = look.light {
            tiers[colour.tier()] = Some(Some(light));
        }
        Self { tiers, buzzer: look.buzzer }
    }

    /// Whether none of our lights shines, and nothing sounds.
    pub fn is_dark(&self) -> bool {
        !self.buzzer && self.tiers.iter().all(|tier| !matches!(tier, Some(Some(_))))
    }
}

/// Has the lamp look so. Gives what it said.
///
/// # Errors
///
/// If it cannot be reached, refuses, or looks otherwise afterwards.
pub fn show(protocol: &LampProtocol, wanted: &Wanted) -> Result<String, SendError> {
    match protocol {
        LampProtocol::Pns(peer, series) => pns::show(peer, *series, wanted),
        LampProtocol::Http(peer) => http::show(peer, wanted),
        LampProtocol::Snmp(peer, community) => snmp::show(peer, community.as_deref(), wanted),
    }
}

/// Looks whether the lamp is there, and whether its lights (not the buzzer, which a person may have silenced) are so; where
/// the protocol does not tell, they are taken to be.
///
/// # Errors
///
/// If it cannot be reached.
pub fn looks_so(protocol: &LampProtocol, wanted: &Wanted) -> Result<bool, SendError> {
    match protocol {
        LampProtocol::Pns(peer, series) => pns::looks_so(peer, *series, wanted),
        LampProtocol::Http(peer) => net::connect(peer, net::LAMP_PATIENCE).map(|_| true),
        LampProtocol::Snmp(peer, community) => snmp::is_there(peer, community.as_deref()).map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_read_and_written() {
        for text in ["off", "red blink buzzer", "yellow on", "white flash", "green on buzzer"] {
            assert_eq!(text.parse::<Look>().unwrap().to_string(), text);
        }
        for text in ["", "red", "blink", "pink on", "red on off", "off buzzer", "red buzzer blink"] {
            assert!(text.parse::<Look>().is_err(), "{text}");
        }
    }

    #[test]
    fn lights_that_no_look_uses_are_left_alone() {
        let looks = Looks::default();
        let high = Wanted::new(looks.of(Some(1)), looks.tiers());
        assert_eq!(high.tiers, [Some(Some(Light::Blink)), Some(None), None, None, None]);
        assert!(high.buzzer && !high.is_dark());
        assert!(Wanted::new(looks.of(None), looks.tiers()).is_dark());
        assert_eq!(looks.of(Some(9)), Look::default());
    }
}
