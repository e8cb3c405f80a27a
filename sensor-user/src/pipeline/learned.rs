//! What clients ask of the models.

use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Parts, Pipeline};
use crate::clock::WallClock;
use crate::control::ModelAsk;
use crate::models;

/// What is told if there is no place to keep models.
const NOWHERE: &str = "the directory of the models cannot be used, so nothing is learned; the log of the daemon's start tells \
                       why (see model.dir)";

impl Pipeline {
    /// Answers, at once but for what must be on the disk first.
    pub(super) fn ask_models(&mut self, ask: ModelAsk, reply: oneshot::Sender<Result<Value, String>>) {
        let Parts { models, engine, .. } = &mut self.parts;
        let answer = match (ask, models) {
            (_, None) => Err(NOWHERE.to_owned()),
            (ModelAsk::List, Some(models)) => Ok(json(&models.list(engine))),
            (ModelAsk::Train(class), Some(models)) => {
                models.order(class.as_deref(), engine).map(|plans| json(&plans))
            }
            (ModelAsk::Scores(device), Some(_)) => {
                models::scores(&device, engine, WallClock::live()).map(|scores| json(&scores))
            }
            (ModelAsk::Promote(hash, what), Some(models)) => match models.promote(&hash, what, engine) {
                Ok(kept) => {
                    let said = json(&models.info(&kept, engine));
                    let remember = models.remember(what, kept);
                    tokio::task::spawn_blocking(move || {
                        // A client that left does not wait.
                        let _ = reply.send(remember().map(|()| said));
                    });
                    return;
                }
                Err(why) => Err(why),
            },
        };
        // A client that left does not wait.
        let _ = reply.send(answer);
    }
}

/// None of the protocol's types can fail to be written.
fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
