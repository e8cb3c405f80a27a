//! What became of an incident, from what was told of it.

use serde_json::Value;

/// What was done in the end: what the last alert that says so decided, and what became of it if a person had to approve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    action: String,
    approved: bool,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { action: "none".to_owned(), approved: false }
    }
}

impl Outcome {
    /// The name of the action.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Whether a person said yes, or would have had to say no.
    pub fn is_approved(&self) -> bool {
        self.approved
    }

    /// Takes in an event of the incident, oldest first; `kind` is its `event_type`.
    pub fn event(&mut self, kind: &str, body: &Value) {
        match kind {
            "alert" => {
                let decision = body["alert"]["metadata"]["decision"][0].as_str();
                let decision = decision.filter(|name| !matches!(*name, "none" | "already_isolated"));
                if let Some(decision) = decision {
                    self.action = decision.to_owned();
                }
            }
            "approval" => match body["approval"]["action"].as_str() {
                Some("denied") => self.action = "denied".to_owned(),
                Some("lapsed") => self.action = "not_approved".to_owned(),
                step => self.approved = matches!(step, Some("approved" | "lapsed_acts")),
            },
            "isolation" if self.approved && body["isolation"]["action"] != "released" => {
                let done = match body["isolation"]["level"].as_str() {
                    Some("throttle") => "throttled",
                    Some("pin") => "pinned",
                    _ => "isolated",
                };
                self.action = done.to_owned();
            }
            _ => {}
        }
    }
}
