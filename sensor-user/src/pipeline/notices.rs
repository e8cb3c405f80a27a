//! What clients want of the channels that people are told by.

use sensor_notify::{ChannelInfo, Known, Notifier};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Pipeline;
use crate::clock::Stamp;
use crate::control::NotifyAsk;
use crate::protocol::{NotifyChannel, NotifyTested};
use crate::telemetry::ChannelSample;

/// There is no channel.
const NOBODY: &str = "nobody is told: the configuration has no channel; add a section like [notify.channels.it], and restart the daemon";

/// Incidents named at once, at most.
const SHOWN: usize = 10;

impl Pipeline {
    /// Answers, at once or when a server said something. A client that left does not wait.
    pub(super) fn ask_notifier(
        &self,
        ask: NotifyAsk,
        by: String,
        reply: oneshot::Sender<Result<Value, String>>,
    ) {
        let notifier = self.parts.notifier.as_ref();
        let answer = match (ask, notifier) {
            (NotifyAsk::List, _) => {
                let channels = notifier.map(Notifier::channels).unwrap_or_default();
                Ok(json(&channels.into_iter().map(channel).collect::<Vec<_>>()))
            }
            (_, None) => Err(NOBODY.to_owned()),
            (NotifyAsk::Test(name), Some(notifier)) => {
                let channel = name.clone();
                let done = move |said: Result<String, String>| {
                    let _ = reply.send(said.map(|answer| json(&NotifyTested { channel, answer })));
                };
                return notifier.test(name, by, Box::new(done));
            }
            (NotifyAsk::Acknowledge(incident), Some(notifier)) => {
                let last = self.parts.engine.last_incident();
                let done = move |said: Result<Known, String>| {
                    let _ = reply.send(said.and_then(|known| acknowledged(incident, last, &known)));
                };
                return notifier.acknowledge(incident, Box::new(done));
            }
        };
        let _ = reply.send(answer);
    }

    /// How the channels do, for metrics.
    pub(super) fn channel_samples(&self) -> Vec<ChannelSample> {
        let channels = self.parts.notifier.as_ref().map(Notifier::channels).unwrap_or_default();
        let sample = |info: ChannelInfo| ChannelSample {
            name: info.name,
            kind: info.kind,
            sent: info.sent,
            failed: info.failed,
            lost: info.lost,
            waiting: info.waiting,
            failing: info.failing,
            last_success_secs: info.last_success_ns.map(|ns| ns as f64 / 1e9),
        };
        channels.into_iter().map(sample).collect()
    }
}

/// What came of it that a person knows. `last` is the highest number of an incident.
fn acknowledged(incident: Option<u64>, last: u64, known: &Known) -> Result<Value, String> {
    let Some(id) = incident.filter(|_| known.ended == 0) else { return Ok(json!(true)) };
    let why = if (1..=last).contains(&id) {
        format!(
            "no lamp shows incident {id}: it was acknowledged already, is over, or lights none by the rules"
        )
    } else {
        format!("there is no incident {id}")
    };
    let shown: Vec<_> = known.open.iter().rev().take(SHOWN).map(u64::to_string).collect();
    let more = known.open.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(match shown.is_empty() {
        true => format!("{why}; lamps show no incident"),
        false => format!("{why}; lamps show: {}{more}", shown.join(", ")),
    })
}

fn channel(info: ChannelInfo) -> NotifyChannel {
    NotifyChannel {
        name: info.name,
        kind: info.kind.to_owned(),
        failing: info.failing,
        waiting: info.waiting,
        sent: info.sent,
        failed: info.failed,
        lost: info.lost,
        last_success: info.last_success_ns.map(Stamp),
        last_answer: info.last_answer,
        last_error_time: info.last_error_ns.map(Stamp),
        last_error: info.last_error,
    }
}

/// None of the protocol's types can fail to be written.
fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_lamp_shows_is_told_with_what_they_show() {
        let told = |incident, ended, open: std::ops::Range<u64>| {
            acknowledged(incident, 40, &Known { ended, open: open.collect() })
        };
        assert_eq!(told(Some(7), 1, 1..3), Ok(json!(true)));
        assert_eq!(told(None, 0, 0..0), Ok(json!(true)));
        for (incident, open, want) in [
            (99, 0..0, "there is no incident 99; lamps show no incident"),
            (99, 3..5, "there is no incident 99; lamps show: 4, 3"),
            (
                40,
                1..14,
                "no lamp shows incident 40: it was acknowledged already, is over, or lights none by the rules; \
                 lamps show: 13, 12, 11, 10, 9, 8, 7, 6, 5, 4 and 3 more",
            ),
        ] {
            assert_eq!(told(Some(incident), 0, open), Err(want.to_owned()));
        }
    }
}
