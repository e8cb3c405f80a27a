//! Mail: one for all that waits, as text and HTML.

use std::error::Error as _;
use std::fs;

use jiff::tz::TimeZone;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use super::net::{self, PATIENCE};
use super::{Send, Sent};
use crate::error::SendError;
use crate::notice::Notice;
use crate::settings::{Language, Mail, Security};
use crate::words;

/// Most notices in a mail.
const MOST: usize = 200;
/// Most characters of a subject.
const MAX_SUBJECT: usize = 200;

/// Says that a program wrote it, so that no automatic answer comes (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + std::marker::Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The way to a mail server.
pub struct Mailer {
    mail: Mail,
    language: Language,
    zone: TimeZone,
}

impl Mailer {
    /// A way by these settings.
    pub fn new(mail: Mail, language: Language, zone: TimeZone) -> Self {
        Self { mail, language, zone }
    }

    fn message(&self, notices: &[Notice], lost: u64) -> Result<Message, SendError> {
        let form = |error: String| SendError::Form(error);
        let from: Mailbox = self.mail.from.parse().map_err(|error| form(format!("the sender: {error}")))?;
        let to: Result<Vec<Mailbox>, _> = self.mail.to.iter().map(|to| to.parse()).collect();
        let to = to.map_err(|error| form(format!("the recipients: {error}")))?;
        let letter = words::letter(self.language, notices, lost, &self.zone);
        let (first, last) = (notices.first().map_or(0, |n| n.id), notices.last().map_or(0, |n| n.id));
        // The same notices have the same number: one who gets them twice, for a crash came in between, can tell.
        let id = format!("<sekisho-{first}-{last}@{}>", from.email.domain());
        let subject: String = letter.subject.chars().take(MAX_SUBJECT).collect();
        let builder =
            Message::builder().from(from).message_id(Some(id)).header(AutoSubmitted).subject(subject);
        let builder = builder.mailbox(lettre::message::header::To::from(Mailboxes::from_iter(to)));
        builder
            .multipart(MultiPart::alternative_plain_html(letter.text(), words::page(&letter)))
            .map_err(|error| form(error.to_string()))
    }

    fn transport(&self) -> Result<SmtpTransport, SendError> {
        let server = &self.mail.server;
        let mut builder =
            SmtpTransport::builder_dangerous(&server.host).port(server.port).timeout(Some(PATIENCE));
        builder = match self.mail.security {
            Security::None => builder.tls(Tls::None),
            Security::StartTls => builder.tls(Tls::Required(self.trust()?)),
            Security::Tls => builder.tls(Tls::Wrapper(self.trust()?)),
        };
        if let Some((user, file)) = &self.mail.login {
            let password = net::secret(file, "password of the mail account (password_file)")?;
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }

    /// Whom to trust: the authorities of the file, and nobody else.
    fn trust(&self) -> Result<TlsParameters, SendError> {
        let path = &self.mail.ca_file;
        let file = |source| SendError::File {
            what: "certificates of authorities (ca_file)",
            path: path.clone(),
            source,
        };
        // Here it is seen whether there are any; below each must be understood.
        net::certificates(path)?;
        let pem = fs::read(path).map_err(file)?;
        let trusted = Certificate::from_pem(&pem)
            .map_err(|error| file(std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())))?;
        let untrusted = |error: lettre::transport::smtp::Error| {
            SendError::untrusted(self.mail.server.to_string(), error.to_string())
        };
        TlsParameters::builder(self.mail.server.host.clone())
            .certificate_store(CertificateStore::None)
            .add_root_certificate(trusted)
            .build()
            .map_err(untrusted)
    }

    fn attempt(&self, notices: &[Notice], lost: u64) -> Result<String, SendError> {
        let message = self.message(notices, lost)?;
        let answer = self.transport()?.send(&message).map_err(|error| self.failure(&error))?;
        Ok(crate::notice::plain(&format!("{} {}", answer.code(), answer.first_line().unwrap_or_default())))
    }

    fn failure(&self, error: &lettre::transport::smtp::Error) -> SendError {
        let peer = self.mail.server.to_string();
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let more = inner.to_string();
            if !said.contains(&more) {
                said = format!("{said}: {more}");
            }
            cause = inner.source();
        }
        let said = crate::notice::plain(&said);
        // A certificate's fault comes as one of the connection.
        if error.is_tls() || said.contains("certificate") {
            return SendError::untrusted(peer, said);
        }
        if error.is_permanent() || error.is_client() {
            return SendError::Refused { peer, said, lasting: true };
        }
        if error.is_transient() || error.is_response() {
            return SendError::Refused { peer, said, lasting: false };
        }
        SendError::Broken { peer, source: std::io::Error::other(said) }
    }
}

impl Send for Mailer {
    fn send(&mut self, notices: &[Notice], lost: u64) -> Sent {
        let said = self.attempt(notices, lost);
        Sent { count: if said.is_ok() { notices.len() } else { 0 }, said }
    }

    fn most(&self) -> usize {
        MOST
    }
}
