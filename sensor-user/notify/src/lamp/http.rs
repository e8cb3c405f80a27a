//! The maker's HTTP commands, as the NH and LA series understand them once "command control" is switched on in the lamp:
//! `GET /api/control?alert=` with a digit for each of five lights and the buzzer (0 off, 1 on, 2 blinking, 9 as it is), and
//! `?clear=1`. The answer is `Success.` or `Error.` (LA6-POE operation manual, 5.8.)

use ureq::Agent;

use super::{Light, Wanted};
use crate::error::SendError;
use crate::send::net::LAMP_PATIENCE;
use crate::settings::Peer;

/// Bytes of an answer, at most.
const MAX_ANSWER: u64 = 4_096;

/// What is asked for.
fn query(wanted: &Wanted) -> String {
    if wanted.is_dark() {
        return "clear=1".to_owned();
    }
    let digit = |tier: &Option<Option<Light>>| match tier {
        None => '9',
        Some(None) => '0',
        Some(Some(Light::On)) => '1',
        // The LA series knows one way of blinking.
        Some(Some(Light::Blink | Light::Flash)) => '2',
    };
    let lights: String = wanted.tiers.iter().map(digit).collect();
    format!("alert={lights}{}", u8::from(wanted.buzzer))
}

/// Has the lamp look so.
pub fn show(peer: &Peer, wanted: &Wanted) -> Result<String, SendError> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(LAMP_PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let name = peer.to_string();
    let url = format!("http://{peer}/api/control?{}", query(wanted));
    let unreachable =
        |error: ureq::Error| SendError::Unreachable { peer: name.clone(), source: error.into_io() };
    let mut answer = agent.get(&url).call().map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
    let body = crate::notice::plain(body.unwrap_or_default().trim());
    match (status, body.as_str()) {
        (200, "Success.") => Ok(body),
        (200, other) if !other.starts_with("Error") => {
            Err(SendError::Unexpected { peer: name, wanted: "`Success.`", said: body })
        }
        _ => {
            let said = format!("{status} {body}; is HTTP command control switched on in the lamp?");
            Err(SendError::Refused { peer: name, said, lasting: status != 503 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lamp::Looks;

    #[test]
    fn queries_are_those_of_the_manual() {
        let looks = Looks::default();
        for (severity, want) in [(Some(1), "alert=209991"), (Some(2), "alert=019990"), (None, "clear=1")] {
            assert_eq!(query(&Wanted::new(looks.of(severity), looks.tiers())), want);
        }
    }
}
