//! What clients want of the channels that people are told by.

use sensor_notify::{ChannelInfo, Notifier};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Pipeline;
use crate::clock::Stamp;
use crate::control::NotifyAsk;
use crate::protocol::{NotifyChannel, NotifyTested};
use crate::telemetry::ChannelSample;

/// There is no channel.
const NOBODY: &str = "nobody is told: the configuration has no channel; add a section like [notify.channels.it], and restart the daemon";

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
            (NotifyAsk::Acknowledge(incident), Some(notifier)) => match notifier.acknowledge(incident) {
                true => Ok(json!(true)),
                false => Err("too many notices wait; try again".to_owned()),
            },
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
