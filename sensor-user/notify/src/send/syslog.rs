//! Syslog: RFC 5424 over UDP (RFC 5426), TCP with octet counting (RFC 6587) and TLS (RFC 5425), and CEF within it.
//!
//! A receiver confirms nothing: over TCP and TLS what is lost is what was under way when the connection broke.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::net::{self, TlsStream};
use super::{Send, Sent, each};
use crate::error::SendError;
use crate::notice::{Notice, What};
use crate::settings::{Format, Syslog, Transport};
use crate::words;

/// Notices at a time.
const MOST: usize = 100;
/// The facility `local0`.
const LOCAL0: u8 = 16;

/// A connection, as the transport has it.
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

/// The way to a receiver of syslog.
pub struct Logger {
    syslog: Syslog,
    host: String,
    stream: Option<Stream>,
}

impl Logger {
    /// A way by these settings, from the machine of that name.
    pub fn new(syslog: Syslog, host: &str) -> Self {
        Self { syslog, host: token(host, 255), stream: None }
    }

    fn tell(&mut self, notice: &Notice) -> Result<String, SendError> {
        let Syslog { format, local, enterprise, .. } = self.syslog;
        let message = message(format, local, enterprise, &self.host, notice);
        if self.syslog.transport == Transport::Udp {
            net::datagram(&self.syslog.peer, &message)?;
            return Ok("sent; syslog is not confirmed".to_owned());
        }
        let frame = [format!("{} ", message.len()).as_bytes(), &message].concat();
        // A connection that the receiver closed meanwhile takes one message without a word.
        if self.stream.as_mut().is_some_and(|stream| !is_open(stream)) {
            self.stream = None;
        }
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let stream = self.stream.insert(stream);
        let written = match stream {
            Stream::Tcp(stream) => stream.write_all(&frame).and_then(|()| stream.flush()),
            Stream::Tls(stream) => stream.write_all(&frame).and_then(|()| stream.flush()),
        };
        match written {
            Ok(()) => Ok("taken; syslog is not confirmed".to_owned()),
            Err(source) => {
                self.stream = None;
                Err(SendError::Broken { peer: self.syslog.peer.to_string(), source })
            }
        }
    }

    fn connect(&self) -> Result<Stream, SendError> {
        Ok(match self.syslog.transport {
            Transport::Tls => Stream::Tls(Box::new(net::tls(&self.syslog.peer, &self.syslog.ca_file)?)),
            _ => Stream::Tcp(net::connect(&self.syslog.peer, net::PATIENCE)?),
        })
    }
}

impl Send for Logger {
    fn send(&mut self, notices: &[Notice], _: u64) -> Sent {
        each(notices, |notice| self.tell(notice))
    }

    fn most(&self) -> usize {
        MOST
    }
}

/// Whether the receiver still listens: it says nothing, so what can be read is its end. (TLS keeps what it reads, such as
/// session tickets; it looks at the socket alone.)
fn is_open(stream: &mut Stream) -> bool {
    let socket = match stream {
        Stream::Tcp(socket) => socket,
        Stream::Tls(stream) => &mut stream.sock,
    };
    let mut byte = [0];
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    let seen = match socket.peek(&mut byte) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    let seen = seen && socket.set_nonblocking(false).is_ok();
    match stream {
        Stream::Tls(stream) if seen => drain(stream),
        _ => seen,
    }
}

/// Takes what came within TLS, so that an end of it is seen.
fn drain(stream: &mut TlsStream) -> bool {
    if stream.sock.set_nonblocking(true).is_err() {
        return false;
    }
    let mut bytes = [0; 512];
    let open = match stream.read(&mut bytes) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    open && stream.sock.set_nonblocking(false).is_ok()
}

/// The severity of syslog: critical, warning, notice.
const fn severity(severity: u8) -> u8 {
    match severity {
        1 => 2,
        2 => 4,
        _ => 5,
    }
}

/// A message as it goes over the wire, without its length: one line, for `local`N, from that host.
pub fn message(format: Format, local: u8, enterprise: u32, host: &str, notice: &Notice) -> Vec<u8> {
    let priority = u32::from(LOCAL0 + local.min(7)) * 8 + u32::from(severity(notice.severity));
    let time = Timestamp::from_nanosecond(i128::from(notice.unix_ns)).unwrap_or_default();
    let time = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let head = format!("<{priority}>1 {time} {host} sekisho {} {}", std::process::id(), notice.kind().name());
    let text = match format {
        Format::Cef => format!("{head} - {}", cef(notice)),
        // The mark says that it is UTF-8.
        Format::Rfc5424 => {
            format!("{head} {} \u{feff}{}", data(enterprise, notice), words::headline(words::ENGLISH, notice))
        }
    };
    // What comes from the disk may have been written by another hand.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().into_bytes()
}

/// A word of the header: what may not be in it is replaced.
fn token(text: &str, most: usize) -> String {
    let word: String = text.chars().take(most).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// The structured data.
fn data(enterprise: u32, notice: &Notice) -> String {
    let mut data = format!("[sekisho@{enterprise}");
    for (name, value) in fields(notice) {
        let safe = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        data.push_str(&format!(" {name}=\"{safe}\""));
    }
    data.push(']');
    data
}

/// What there is, by name.
fn fields(notice: &Notice) -> Vec<(&'static str, String)> {
    let device = notice.device.as_ref();
    let place = notice.place.as_ref();
    let (mut level, mut action, mut detector, mut until) = (None, None, None, None);
    match &notice.what {
        What::Alert { detector: name, action: done, .. } => {
            (detector, action) = (Some(name.clone()), Some(done.clone()));
        }
        What::Isolation(entry) => {
            let change = serde_json::to_value(entry.change).ok();
            action = change.and_then(|change| change.as_str().map(str::to_owned));
            (level, until) = (Some(entry.level.clone()), entry.until_ns);
        }
        What::Approval { step, level: asked, until_ns, .. } => {
            (action, level, until) = (Some(step.clone()), Some(asked.clone()), Some(*until_ns));
        }
        _ => {}
    }
    let until = until.map(|ns| words::date(ns, &TimeZone::UTC).replace(' ', "T") + "Z");
    let all = [
        ("id", Some(notice.id.to_string())),
        ("severity", Some(notice.severity.to_string())),
        ("incident", notice.incident.map(|id| id.to_string())),
        ("device", device.and_then(|device| device.name.clone())),
        ("mac", device.map(|device| device.mac.clone())),
        ("ip", device.map(|device| device.ips.join(",")).filter(|ips| !ips.is_empty())),
        ("maker", device.and_then(|device| device.maker.clone())),
        ("port", place.and_then(|place| place.port.clone())),
        ("vlan", place.and_then(|place| place.vlan).map(|vlan| vlan.to_string())),
        ("segment", place.and_then(|place| place.segment.clone())),
        ("detector", detector),
        ("level", level),
        ("action", action),
        ("until", until),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The notice as CEF 0 has it (ArcSight's Common Event Format, revision 25): severity 0 to 10, times in ms.
fn cef(notice: &Notice) -> String {
    let head = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
    let value = |text: &str| text.replace('\\', "\\\\").replace('=', "\\=").replace(['\r', '\n'], " ");
    let class = match &notice.what {
        What::Alert { detector, .. } => detector.as_str(),
        _ => notice.kind().name(),
    };
    let name = words::headline(words::ENGLISH, notice);
    let severity = match notice.severity {
        1 => 9,
        2 => 6,
        _ => 3,
    };
    let mut text = format!(
        "CEF:0|Sekisho|Sekisho|{}|{}|{}|{severity}|rt={} externalId={}",
        env!("CARGO_PKG_VERSION"),
        head(class),
        head(&name),
        notice.unix_ns / 1_000_000,
        notice.id,
    );
    let keys = [
        ("src", "ip"),
        ("smac", "mac"),
        ("shost", "device"),
        ("deviceInboundInterface", "port"),
        ("act", "action"),
        ("cs1", "segment"),
        ("cs2", "level"),
        ("cs3", "maker"),
        ("cn1", "incident"),
        ("cn2", "vlan"),
    ];
    let fields = fields(notice);
    for (key, field) in keys {
        let Some((_, found)) = fields.iter().find(|(name, _)| *name == field) else { continue };
        // One address: the first.
        let found = if field == "ip" { found.split(',').next().unwrap_or_default() } else { found };
        if key.starts_with("cs") || key.starts_with("cn") {
            text.push_str(&format!(" {key}Label={field}"));
        }
        text.push_str(&format!(" {key}={}", value(found)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::Device;
    use crate::place::Place;
    use crate::settings::ENTERPRISE;

    fn notice() -> Notice {
        let device = Device {
            mac: "04:92:26:00:00:15".to_owned(),
            ips: vec!["10.77.0.15".to_owned(), "fd77::15".to_owned()],
            more_ips: 0,
            maker: Some("A|B=C\\D".to_owned()),
            name: Some("MRI \"2\"]".to_owned()),
            class: None,
        };
        let place = Place { port: Some("eth1".to_owned()), vlan: Some(20), segment: None };
        let what = What::Alert {
            detector: "scan".to_owned(),
            signature: "ARP scan: a|b".to_owned(),
            evidence: Vec::new(),
            impact: None,
            nats: 27.7,
            action: "isolated".to_owned(),
        };
        Notice {
            id: 77,
            unix_ns: 1_769_898_600_123_456_789,
            severity: 1,
            device: Some(device),
            place: Some(place),
            incident: Some(3),
            what,
        }
    }

    #[test]
    fn a_message_is_as_rfc_5424_has_it() {
        let text = String::from_utf8(message(Format::Rfc5424, 3, ENTERPRISE, "box 1", &notice())).unwrap();
        // A host's name with a space in it is made one word by `Logger::new`.
        let pid = std::process::id();
        let want = format!(
            "<154>1 2026-01-31T22:30:00.123456Z box 1 sekisho {pid} alert [sekisho@32473 id=\"77\" severity=\"1\" \
             incident=\"3\" device=\"MRI \\\"2\\\"\\]\" mac=\"04:92:26:00:00:15\" ip=\"10.77.0.15,fd77::15\" \
             maker=\"A|B=C\\\\D\" port=\"eth1\" vlan=\"20\" detector=\"scan\" action=\"isolated\"] \u{feff}MRI \"2\"] \
             (10.77.0.15): ARP scan: a|b"
        );
        assert_eq!(text, want);
        assert_eq!(token("box 1", 255), "box_1");
        assert_eq!(token("", 255), "-");
    }

    #[test]
    fn cef_escapes_what_it_must_and_no_more() {
        let version = env!("CARGO_PKG_VERSION");
        let want = format!(
            "CEF:0|Sekisho|Sekisho|{version}|scan|MRI \"2\"] (10.77.0.15): ARP scan: a\\|b|9|rt=1769898600123 externalId=77 \
             src=10.77.0.15 smac=04:92:26:00:00:15 shost=MRI \"2\"] deviceInboundInterface=eth1 act=isolated \
             cs3Label=maker cs3=A|B\\=C\\\\D cn1Label=incident cn1=3 cn2Label=vlan cn2=20"
        );
        assert_eq!(cef(&notice()), want);
    }
}
