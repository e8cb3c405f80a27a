//! Ways to tell people: channels.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensor_core::policy::Name;
use sensor_core::time::HOUR;
use sensor_notify::lamp::{Look, Looks};
use sensor_notify::settings::{
    Access, BUZZER_FOR, Channel, Digest, ENTERPRISE, Format, GATHER, Lamp, LampProtocol, Language,
    MAX_CHANNELS, MAX_RECIPIENTS, Mail, Means, PER_HOUR, Peer, SYSTEM_CA, Security, Series, Syslog, Template,
    Transport, Trap, User, Webhook, check_mailbox,
};

use super::item::{Item, Read, quoted};
use super::places::name;
use super::problem::Problem;

/// The keys of a section of the user's own: each is asked for once, and what was not asked for is not known.
pub(super) struct Fields<'i, 'a> {
    entry: &'i Item<'a>,
    left: BTreeMap<String, Item<'a>>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'i, 'a> Fields<'i, 'a> {
    pub(super) fn new(entry: &'i Item<'a>) -> Read<Self> {
        let keys = entry.section()?.iter();
        let left = keys.map(|(key, value)| (key.get_ref().to_string(), entry.key(key.get_ref(), value)));
        Ok(Self { entry, left: left.collect(), known: Vec::new(), problems: Vec::new() })
    }

    /// The value of a key; none if it is not there, or wrong.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Option<T> {
        self.known.push(key);
        match read(&self.left.remove(key)?.like(example)) {
            Ok(value) => Some(value),
            Err(more) => {
                self.problems.extend(more);
                None
            }
        }
    }

    /// The same of a key that must be there.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Option<T> {
        if !self.left.contains_key(key) {
            self.problems
                .push(self.entry.problem(format!("has no {key}"), format!("write it like: {example}")));
        }
        self.get(key, example, read)
    }

    /// What it comes down to, if nothing was wrong and nothing is left.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Read<T> {
        let known = self.known.join(", ");
        for item in self.left.into_values() {
            self.problems.push(item.problem("is not a known key", format!("known here: {known}")));
        }
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

/// Channels by name.
pub fn channels(item: &Item) -> Read<BTreeMap<String, Channel>> {
    let (mut channels, mut problems) = (BTreeMap::new(), Vec::new());
    for (text, value) in item.section()? {
        let entry = item.entry(text.get_ref(), value).like("[notify.channels.it]\nkind = \"mail\"");
        let read = own_name(&entry, text.get_ref()).and_then(|name| Ok((name, channel(&entry)?)));
        match read {
            Ok((name, channel)) => drop(channels.insert(name, channel)),
            Err(more) => problems.extend(more),
        }
    }
    if channels.len() > MAX_CHANNELS {
        problems.push(item.problem(format!("there are more than {MAX_CHANNELS}"), "put some together"));
    }
    if problems.is_empty() { Ok(channels) } else { Err(problems) }
}

/// A name that can also be a directory's.
fn own_name(entry: &Item, text: &str) -> Read<String> {
    let name: Name = name(entry, text)?;
    match name.as_str() {
        text if text.starts_with('.') => entry.wrong("begins with a full stop", "begin it with a letter"),
        text => Ok(text.to_owned()),
    }
}

fn channel(entry: &Item) -> Read<Channel> {
    let mut fields = Fields::new(entry)?;
    let kinds = ["mail", "lamp", "webhook", "trap", "syslog"].map(|kind| (kind, kind));
    let kind = fields.need("kind", r#"kind = "mail""#, |item| item.choice(&kinds));
    let Some(kind) = kind else {
        // What else stands there has a meaning once the kind is known.
        return Err(fields.problems);
    };
    let languages = [("en", Language::English), ("ja", Language::Japanese), ("both", Language::Both)];
    let told = matches!(kind, "mail" | "webhook");
    let language = if told {
        fields.get("language", r#"language = "ja""#, |item| item.choice(&languages)).unwrap_or_default()
    } else {
        Language::English
    };
    let means = match kind {
        "mail" => mail(&mut fields).map(Means::Mail),
        "lamp" => lamp(&mut fields).map(Means::Lamp),
        "webhook" => webhook(&mut fields).map(Means::Webhook),
        "trap" => trap(&mut fields).map(Means::Trap),
        _ => syslog(&mut fields).map(Means::Syslog),
    };
    fields.finish(means.map(|means| Channel { means, language }))
}

fn mail(fields: &mut Fields) -> Option<Mail> {
    let kinds = [("starttls", Security::StartTls), ("tls", Security::Tls), ("none", Security::None)];
    let security = fields.get("security", r#"security = "starttls""#, |item| item.choice(&kinds));
    let security = security.unwrap_or_default();
    let port = match security {
        Security::StartTls => 587,
        Security::Tls => 465,
        Security::None => 25,
    };
    let server = fields.need("server", r#"server = "mail.example.jp:587""#, |item| peer(item, port));
    let ca_file = ca_file(fields);
    let user = fields.get("user", r#"user = "sekisho""#, |item| text(item));
    let password = fields.get("password_file", r#"password_file = "/etc/sekisho/mail.password""#, file);
    if user.is_some() != password.is_some() {
        let what = "has one of user and password_file, and not the other";
        fields.problems.push(fields.entry.problem(what, "give both, or neither"));
    }
    if user.is_some() && security == Security::None {
        let what = "would send the password where everybody can read it";
        fields.problems.push(fields.entry.problem(what, "take security = \"starttls\" or \"tls\""));
    }
    let from = fields.need("from", r#"from = "Sekisho <sekisho@example.jp>""#, mailbox);
    let to = fields.need("to", r#"to = ["it@example.jp"]"#, |item| {
        let list = item.list(mailbox)?;
        match list.len() {
            1..=MAX_RECIPIENTS => Ok(list),
            _ => {
                item.wrong(format!("must be 1 to {MAX_RECIPIENTS} addresses"), "take a mailing list for more")
            }
        }
    });
    let gather = fields.get("gather", r#"gather = "5s""#, |item| item.duration(0..=HOUR));
    let per_hour = fields.get("mails_per_hour", "mails_per_hour = 12", |item| item.count(2..=1_000));
    Some(Mail {
        server: server?,
        security,
        ca_file,
        login: user.zip(password),
        from: from?,
        to: to?,
        gather_ns: gather.unwrap_or(GATHER),
        per_hour: per_hour.map_or(PER_HOUR, |count| count as u32),
    })
}

fn lamp(fields: &mut Fields) -> Option<Lamp> {
    let protocols = ["pns", "http", "snmp"].map(|name| (name, name));
    let protocol = fields.get("protocol", r#"protocol = "pns""#, |item| item.choice(&protocols));
    let protocol = protocol.unwrap_or("pns");
    let port = match protocol {
        "pns" => 10_000,
        "http" => 80,
        _ => 161,
    };
    let address = fields.need("address", r#"address = "10.0.0.50""#, |item| peer(item, port));
    let defaults = Looks::default().0;
    let looks = [
        fields.get("high", r#"high = "red blink buzzer""#, look).unwrap_or(defaults[0]),
        fields.get("medium", r#"medium = "yellow on""#, look).unwrap_or(defaults[1]),
        fields.get("low", r#"low = "off""#, look).unwrap_or(defaults[2]),
    ];
    let sounds = fields.get("buzzer_for", r#"buzzer_for = "1m""#, |item| item.duration(0..=24 * HOUR));
    let protocol = match protocol {
        "pns" => {
            let series = [("nh", Series::Nh), ("la", Series::La)];
            let series = fields.get("series", r#"series = "nh""#, |item| item.choice(&series));
            LampProtocol::Pns(address?, series.unwrap_or_default())
        }
        "http" => LampProtocol::Http(address?),
        _ => {
            let community = fields.get("community_file", r#"community_file = "/etc/sekisho/lamp""#, file);
            LampProtocol::Snmp(address?, community)
        }
    };
    Some(Lamp { protocol, looks: Looks(looks), buzzer_for_ns: sounds.unwrap_or(BUZZER_FOR) })
}

fn webhook(fields: &mut Fields) -> Option<Webhook> {
    let templates = [("json", Template::Json), ("slack", Template::Slack), ("teams", Template::Teams)];
    let url = fields.need("url", r#"url = "https://chat.example.jp/hooks/abc""#, url);
    let template = fields.get("template", r#"template = "slack""#, |item| item.choice(&templates));
    let secret_file = fields.get("secret_file", r#"secret_file = "/etc/sekisho/hook.key""#, file);
    let ca_file = ca_file(fields);
    Some(Webhook { url: url?, template: template.unwrap_or_default(), secret_file, ca_file })
}

fn trap(fields: &mut Fields) -> Option<Trap> {
    let address = fields.need("address", r#"address = "10.0.0.60:162""#, |item| peer(item, 162));
    let access = match fields.get("user", r#"user = "sekisho""#, user_name) {
        None => Access::Community(fields.get(
            "community_file",
            r#"community_file = "/etc/sekisho/community""#,
            file,
        )),
        Some(name) => Access::User(snmp_user(name, fields)?),
    };
    Some(Trap { peer: address?, access, enterprise: enterprise(fields) })
}

/// The name of a user of SNMP v3 (RFC 3414 5: `usmUserName`).
fn user_name(item: &Item) -> Read<String> {
    match item.text()? {
        name if (1..=32).contains(&name.len()) => Ok(name.to_owned()),
        name => item.wrong(
            format!("must have 1 to 32 bytes, and has {}", name.len()),
            "name it as the receiver does",
        ),
    }
}

fn snmp_user(name: String, fields: &mut Fields) -> Option<User> {
    let digests = [("sha1", Digest::Sha1), ("sha256", Digest::Sha256), ("sha512", Digest::Sha512)];
    let digest = fields.get("digest", r#"digest = "sha256""#, |item| item.choice(&digests));
    let password_file = fields.need("password_file", r#"password_file = "/etc/sekisho/trap.password""#, file);
    let privacy_file = fields.get("privacy_file", r#"privacy_file = "/etc/sekisho/trap.privacy""#, file);
    Some(User { name, digest: digest.unwrap_or_default(), password_file: password_file?, privacy_file })
}

fn syslog(fields: &mut Fields) -> Option<Syslog> {
    let transports = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    let formats = [("rfc5424", Format::Rfc5424), ("cef", Format::Cef)];
    let locals: [(&str, u8); 8] = [
        ("local0", 0),
        ("local1", 1),
        ("local2", 2),
        ("local3", 3),
        ("local4", 4),
        ("local5", 5),
        ("local6", 6),
        ("local7", 7),
    ];
    let transport = fields.get("transport", r#"transport = "tls""#, |item| item.choice(&transports));
    let transport = transport.unwrap_or_default();
    let port = match transport {
        Transport::Udp => 514,
        Transport::Tcp => 601,
        Transport::Tls => 6_514,
    };
    let address = fields.need("address", r#"address = "10.0.0.70:514""#, |item| peer(item, port));
    let format = fields.get("format", r#"format = "cef""#, |item| item.choice(&formats));
    let local = fields.get("facility", r#"facility = "local0""#, |item| item.choice(&locals));
    let ca_file = ca_file(fields);
    Some(Syslog {
        peer: address?,
        transport,
        format: format.unwrap_or_default(),
        local: local.unwrap_or(0),
        ca_file,
        enterprise: enterprise(fields),
    })
}

fn enterprise(fields: &mut Fields) -> u32 {
    let numbers = 1..=u64::from(u32::MAX);
    let given = fields.get("enterprise", "enterprise = 32473", |item| item.count(numbers));
    given.and_then(|number| u32::try_from(number).ok()).unwrap_or(ENTERPRISE)
}

fn ca_file(fields: &mut Fields) -> PathBuf {
    let given = fields.get("ca_file", r#"ca_file = "/etc/sekisho/ca.pem""#, file);
    given.unwrap_or_else(|| PathBuf::from(SYSTEM_CA))
}

fn text(item: &Item) -> Read<String> {
    let text = item.text()?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return item
            .wrong("is empty, or holds control characters", format!("write it like: {}", item.example));
    }
    Ok(text.to_owned())
}

fn file(item: &Item) -> Read<PathBuf> {
    let path = PathBuf::from(text(item)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        item.wrong("is no whole path", format!("begin it with /, like: {}", item.example))
    }
}

fn look(item: &Item) -> Read<Look> {
    item.text()?.parse().or_else(|hint| item.wrong(format!("{} is no look", quoted(item.text()?)), hint))
}

fn mailbox(item: &Item) -> Read<String> {
    let text = text(item)?;
    match check_mailbox(&text) {
        Ok(()) => Ok(text),
        Err(why) => item.wrong(
            format!("{} is no mail address: {why}", quoted(&text)),
            "write it like \"it@example.jp\" or \"Sekisho <sekisho@example.jp>\"",
        ),
    }
}

fn url(item: &Item) -> Read<String> {
    let text = text(item)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_none_or(str::is_empty) || text.contains(' ') {
        // It is not shown: such addresses often are secrets.
        return item.wrong("is no web address", format!("write it like: {}", item.example));
    }
    Ok(text)
}

/// A name or address, and perhaps a port.
fn peer(item: &Item, port: u16) -> Read<Peer> {
    let text = text(item)?;
    let wrong = || {
        let hint = "write a name or an IP address, and a port if it is not the usual: \"10.0.0.5:587\", \"[fd00::5]:587\"";
        item.wrong(format!("{} is no name, address and port", quoted(&text)), hint)
    };
    let (host, port) = if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        (address.ip().to_string(), address.port())
    } else if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        (address.to_string(), port)
    } else {
        match text.split_once(':') {
            None => (text.clone(), port),
            Some((host, given)) => match given.parse() {
                Ok(given) => (host.to_owned(), given),
                Err(_) => return wrong(),
            },
        }
    };
    let is_name =
        host.contains(':') || host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if host.is_empty() || host.len() > 253 || !is_name || port == 0 {
        wrong()
    } else {
        Ok(Peer { host, port })
    }
}
