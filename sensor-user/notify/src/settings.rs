//! Who is told what, and how: the checked settings.
//!
//! Secrets are not in here: only the files they are read from, anew for each use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sensor_core::time::{MINUTE, SECOND};

use crate::lamp::Looks;
use crate::notice::{Kind, MEDIUM};
use crate::place::Segments;

/// Most channels.
pub const MAX_CHANNELS: usize = 16;
/// Most rules.
pub const MAX_RULES: usize = 64;
/// Most addresses a mail goes to.
pub const MAX_RECIPIENTS: usize = 32;
/// The certificates of authorities that Debian's `ca-certificates` keeps.
pub const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A language people are told in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
    /// Japanese, and English below it.
    #[default]
    Both,
}

/// How a connection is kept from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Security {
    /// TLS after a beginning in the clear; without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the beginning.
    Tls,
    /// Not at all.
    None,
}

/// A peer: its name or address, and its port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// A mail server, and whom to write to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// The server.
    pub server: Peer,
    /// How the connection is kept from others.
    pub security: Security,
    /// The authorities that the server's certificate may be of.
    pub ca_file: PathBuf,
    /// Account, and file with its password.
    pub login: Option<(String, PathBuf)>,
    /// The sender.
    pub from: String,
    /// Whom it is for.
    pub to: Vec<String>,
    /// For how long notices are gathered into a mail, ns.
    pub gather_ns: u64,
    /// Mails an hour, at most; at least 2.
    pub per_hour: u32,
}

/// Which lamps of the maker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Series {
    /// NHL, NHP, NHV, NH-FB and such: product code `XX`.
    #[default]
    Nh,
    /// LA6-POE, LR5-LAN, LR6 and such: product code `AB`.
    La,
}

/// How a lamp is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LampProtocol {
    /// The maker's PNS commands, over TCP.
    Pns(Peer, Series),
    /// The maker's HTTP commands.
    Http(Peer),
    /// SNMP v2c, with the file that holds the community.
    Snmp(Peer, Option<PathBuf>),
}

/// A patrol lamp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lamp {
    /// How to reach it.
    pub protocol: LampProtocol,
    /// How it looks, by severity.
    pub looks: Looks,
    /// After how long the buzzer stops by itself, ns; 0: it does not.
    pub buzzer_for_ns: u64,
}

/// The form of what a webhook gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Template {
    /// Everything, for programs.
    #[default]
    Json,
    /// As Slack and Mattermost take it.
    Slack,
    /// As Microsoft Teams takes it.
    Teams,
}

/// A web address that is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// The address.
    pub url: String,
    /// The form.
    pub template: Template,
    /// File with the key of the signature.
    pub secret_file: Option<PathBuf>,
    /// The authorities that the server's certificate may be of.
    pub ca_file: PathBuf,
}

/// The enterprise number that RFC 5612 keeps for documentation: the product has none of its own.
pub const ENTERPRISE: u32 = 32_473;

/// A receiver of SNMP traps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trap {
    /// The receiver.
    pub peer: Peer,
    /// What it knows us by.
    pub access: Access,
    /// The enterprise number below which the trap and its objects are.
    pub enterprise: u32,
}

/// What a receiver of traps knows us by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// SNMP v2c: file with the community; none: `public`.
    Community(Option<PathBuf>),
    /// SNMP v3.
    User(User),
}

/// A user of SNMP v3 (RFC 3414).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// How messages are authenticated.
    pub digest: Digest,
    /// File with the password for that.
    pub password_file: PathBuf,
    /// File with the password they are encrypted by (AES-128, RFC 3826); none: they are not.
    pub privacy_file: Option<PathBuf>,
}

/// How messages of SNMP v3 are authenticated: by HMAC with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Digest {
    /// RFC 3414; the only one older receivers know.
    Sha1,
    /// RFC 7860.
    #[default]
    Sha256,
    /// RFC 7860.
    Sha512,
}

/// How syslog goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// One datagram a message.
    #[default]
    Udp,
    /// One connection, messages with their length before them.
    Tcp,
    /// The same, within TLS.
    Tls,
}

/// The form of a syslog message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// RFC 5424, with structured data.
    #[default]
    Rfc5424,
    /// The same, where the message is CEF.
    Cef,
}

/// A receiver of syslog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Syslog {
    /// The receiver.
    pub peer: Peer,
    /// How it goes.
    pub transport: Transport,
    /// Its form.
    pub format: Format,
    /// `local0` to `local7`.
    pub local: u8,
    /// The authorities that the receiver's certificate may be of.
    pub ca_file: PathBuf,
    /// The enterprise number in the name of the structured data.
    pub enterprise: u32,
}

/// A way to tell people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Means {
    /// Mail.
    Mail(Mail),
    /// A patrol lamp.
    Lamp(Lamp),
    /// A web address.
    Webhook(Webhook),
    /// SNMP traps.
    Trap(Trap),
    /// Syslog.
    Syslog(Syslog),
}

impl Means {
    /// The name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mail(_) => "mail",
            Self::Lamp(_) => "lamp",
            Self::Webhook(_) => "webhook",
            Self::Trap(_) => "trap",
            Self::Syslog(_) => "syslog",
        }
    }

    /// For how long notices are gathered, ns.
    pub(crate) const fn gather_ns(&self) -> u64 {
        if let Self::Mail(mail) = self { mail.gather_ns } else { 0 }
    }

    /// Messages an hour, if they are limited.
    pub(crate) const fn per_hour(&self) -> Option<u32> {
        if let Self::Mail(mail) = self { Some(mail.per_hour) } else { None }
    }
}

/// A channel: whom notices go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// The way.
    pub means: Means,
    /// The language.
    pub language: Language,
}

/// Which notices go to which channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// As grave as this at least: 1 (high) to 3 (low).
    pub severity: u8,
    /// The kinds; empty: all.
    pub kinds: BTreeSet<Kind>,
    /// The segments; empty: all places.
    pub segments: BTreeSet<String>,
    /// The days of the week, from Monday.
    pub days: [bool; 7],
    /// The time of day, minutes from midnight: from, and until before. If it ends before it begins, it goes over midnight.
    pub hours: Option<(u16, u16)>,
    /// The channels.
    pub channels: BTreeSet<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            severity: MEDIUM,
            kinds: BTreeSet::new(),
            segments: BTreeSet::new(),
            days: [true; 7],
            hours: None,
            channels: BTreeSet::new(),
        }
    }
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// The channels by name.
    pub channels: BTreeMap<String, Channel>,
    /// The rules. Without any, all channels are told of what is of medium severity or graver.
    pub rules: Vec<Rule>,
    /// The segments.
    pub segments: Segments,
}

/// For how long a mail gathers, unless told otherwise.
pub const GATHER: u64 = 5 * SECOND;
/// Mails an hour, unless told otherwise.
pub const PER_HOUR: u32 = 12;
/// For how long the buzzer sounds, unless told otherwise.
pub const BUZZER_FOR: u64 = MINUTE;

/// Whether a text is the address of a mailbox, with or without a name: `Sekisho <sekisho@example.jp>`.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_mailbox(text: &str) -> Result<(), String> {
    text.parse::<lettre::message::Mailbox>().map(drop).map_err(|error| error.to_string())
}
