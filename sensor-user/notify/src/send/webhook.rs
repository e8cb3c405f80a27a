//! A web address that is told: JSON, signed; also as Slack and Teams take it.
//!
//! The signature is HMAC-SHA256 over the time (seconds since 1970, as the header `X-Sekisho-Timestamp` gives it), a full
//! stop, and the body; it stands in `X-Sekisho-Signature` as `sha256=` and hexadecimal digits. Whoever checks it should
//! also refuse what is older than some minutes, and what was there before by its `X-Sekisho-Id`.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use ring::hmac;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::net::{self, PATIENCE};
use super::{Send, Sent, each};
use crate::error::SendError;
use crate::notice::{Notice, plain};
use crate::settings::{Language, Template, Webhook};
use crate::words::{self, Phrases};

/// Notices at a time.
const MOST: usize = 100;
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 4_096;

/// The way to a web address.
pub struct Hook {
    webhook: Webhook,
    language: Language,
    zone: TimeZone,
}

impl Hook {
    /// A way by these settings.
    pub fn new(webhook: Webhook, language: Language, zone: TimeZone) -> Self {
        Self { webhook, language, zone }
    }

    fn agent(&self) -> Result<Agent, SendError> {
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(net::provider());
        if self.webhook.url.starts_with("https:") {
            let trusted = net::certificates(&self.webhook.ca_file)?;
            let trusted: Vec<_> = trusted.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
            tls = tls.root_certs(RootCerts::new_with_certs(&trusted));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE * 2))
            .timeout_connect(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            // The house's proxy is not asked for what is inside; and nothing here needs the Internet.
            .proxy(None)
            .user_agent(concat!("sekisho/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build());
        Ok(config.build().into())
    }

    fn tell(&self, agent: &Agent, notice: &Notice) -> Result<String, SendError> {
        let body = body(self.webhook.template, self.language, notice, &self.zone).to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut request = agent
            .post(&self.webhook.url)
            .header("Content-Type", "application/json")
            .header("X-Sekisho-Id", notice.id.to_string())
            .header("X-Sekisho-Timestamp", now.to_string());
        if let Some(file) = &self.webhook.secret_file {
            let secret = net::secret(file, "key of the signature (secret_file)")?;
            request = request.header("X-Sekisho-Signature", signature(&secret, now, &body));
        }
        let mut answer = request.send(&body).map_err(|error| self.failure(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status.to_string());
        }
        let said = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
        let said = format!("{status} {}", plain(said.trim()));
        // A server that is overloaded, or has no time for the client (429), may do better soon.
        let lasting = !status.is_server_error() && status.as_u16() != 429;
        Err(SendError::Refused { peer: self.peer(), said, lasting })
    }

    /// Host and port: what is behind them in the address may be a secret.
    fn peer(&self) -> String {
        let rest = self.webhook.url.split_once("://").map_or(self.webhook.url.as_str(), |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
    }

    fn failure(&self, error: ureq::Error) -> SendError {
        let peer = self.peer();
        match error {
            ureq::Error::Timeout(_) => {
                SendError::Broken { peer, source: std::io::Error::from(std::io::ErrorKind::TimedOut) }
            }
            ureq::Error::HostNotFound => {
                let source = std::io::Error::new(std::io::ErrorKind::NotFound, "its name has no address");
                SendError::Unreachable { peer, source }
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                SendError::Form("the url is none; write it like https://host/path".to_owned())
            }
            other => {
                let source = other.into_io();
                let said = source.to_string();
                if said.contains("certificate") {
                    return SendError::untrusted(peer, said);
                }
                SendError::Unreachable { peer, source }
            }
        }
    }
}

impl Send for Hook {
    fn send(&mut self, notices: &[Notice], _: u64) -> Sent {
        match self.agent() {
            Ok(agent) => each(notices, |notice| self.tell(&agent, notice)),
            Err(error) => Sent { count: 0, said: Err(error) },
        }
    }

    fn most(&self) -> usize {
        MOST
    }
}

/// The signature of a body that goes out at that time, seconds since 1970.
pub fn signature(secret: &str, unix_secs: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{unix_secs}.{body}").as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        // A text takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is sent.
pub fn body(template: Template, language: Language, notice: &Notice, zone: &TimeZone) -> Value {
    let phrases = language.phrases();
    match template {
        Template::Json => whole(notice, zone),
        Template::Slack => slack(phrases, notice, zone),
        Template::Teams => teams(phrases, notice, zone),
    }
}

/// Everything, for programs.
fn whole(notice: &Notice, zone: &TimeZone) -> Value {
    let told = |phrases| {
        let section = words::section(phrases, &[notice], zone);
        let rows: Vec<_> =
            section.rows.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({ "headline": section.headline, "rows": rows })
    };
    json!({
        "version": 1,
        "kind": notice.kind().name(),
        "notice": notice,
        "text": { "en": told(words::ENGLISH), "ja": told(words::JAPANESE) },
    })
}

const COLOURS: [&str; 3] = ["#c62828", "#e08e00", "#2e7d32"];

fn colour(severity: u8) -> &'static str {
    COLOURS.get(usize::from(severity.saturating_sub(1))).copied().unwrap_or(COLOURS[2])
}

/// Slack's form, which Mattermost and Rocket.Chat take too.
fn slack(phrases: &[&Phrases], notice: &Notice, zone: &TimeZone) -> Value {
    let sections: Vec<_> = phrases.iter().map(|phrases| words::section(phrases, &[notice], zone)).collect();
    // In Slack's texts these three have a meaning.
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let headlines: Vec<_> = sections.iter().map(|section| safe(&section.headline)).collect();
    let attachments: Vec<_> = sections
        .iter()
        .map(|section| {
            let fields: Vec<_> = section
                .rows
                .iter()
                .map(|(name, value)| json!({"title": name, "value": safe(value), "short": value.len() < 40}))
                .collect();
            json!({ "color": colour(section.severity), "fallback": safe(&section.headline), "fields": fields })
        })
        .collect();
    json!({ "text": headlines.join("\n"), "attachments": attachments })
}

/// An adaptive card, as the workflows of Teams take it.
fn teams(phrases: &[&Phrases], notice: &Notice, zone: &TimeZone) -> Value {
    let mut card = Vec::new();
    for phrases in phrases {
        let section = words::section(phrases, &[notice], zone);
        let colour = match section.severity {
            1 => "Attention",
            2 => "Warning",
            _ => "Good",
        };
        card.push(json!({
            "type": "TextBlock", "text": section.headline, "weight": "Bolder", "size": "Medium", "color": colour, "wrap": true,
        }));
        let facts: Vec<_> =
            section.rows.iter().map(|(name, value)| json!({"title": name, "value": value})).collect();
        card.push(json!({ "type": "FactSet", "facts": facts }));
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": card,
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256() {
        // Computed by: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1_700_000_000, "{\"a\":1}"),
            "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }
}
