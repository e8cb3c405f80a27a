//! Webhooks, over HTTPS, signed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sensor_core::event::Change;
use sensor_notify::settings::{Means, Template, Webhook};
use serde_json::Value;

use crate::events::{alert, isolation};
use crate::peers::{Authority, WebServer};
use crate::{House, settings};

pub fn webhook(url: &str, ca: &Path) -> Webhook {
    Webhook { url: url.to_owned(), template: Template::Json, secret_file: None, ca_file: ca.to_owned() }
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
    line.split_once(": ").unwrap().1
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// As anybody would check it: by openssl.
fn hmac(key: &str, text: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    said.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn a_webhook_is_signed_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "house");
    let answers = vec![("503 Busy", "later"), ("200 OK", "")];
    let server = WebServer::start(Some(&authority), answers);
    let secret = dir.path().join("secret");
    fs::write(&secret, "a key\n").unwrap();
    let url = format!("https://localhost:{}/hooks/abc?x=1", server.port);
    let hook = Webhook { secret_file: Some(secret), ..webhook(&url, &authority.ca) };
    let mut house = House::start(settings(vec![("chat", Means::Webhook(hook))]), &dir.path().join("notices"));
    house.tell(&isolation(15, Change::Added));
    let requests = server.wait(2);
    house.wait("chat", "told", 5, |chat| chat.sent == 1 && chat.failed == 1);
    for request in &requests {
        assert!(request.starts_with("POST /hooks/abc?x=1 HTTP/1.1\r\n"), "{request}");
        let signed = format!("{}.{}", header(request, "x-sekisho-timestamp"), body(request));
        assert_eq!(header(request, "x-sekisho-signature"), format!("sha256={}", hmac("a key", &signed)));
    }
    assert_eq!(header(&requests[0], "x-sekisho-id"), header(&requests[1], "x-sekisho-id"));
    let told: Value = serde_json::from_str(body(&requests[1])).unwrap();
    assert_eq!((&told["kind"], &told["version"]), (&"isolation".into(), &1.into()));
    let notice = &told["notice"];
    assert_eq!(notice["device"]["name"], "MRI 15");
    assert_eq!(notice["place"], serde_json::json!({"port": "eth1", "vlan": 20, "segment": "radiology"}));
    assert_eq!(notice["what"]["level"], "isolate");
    assert_eq!(told["text"]["en"]["headline"], "MRI 15 (10.77.0.15) is cut off");
    assert_eq!(told["text"]["ja"]["headline"], "隔離: MRI 15 (10.77.0.15)");
}

#[test]
fn slack_and_teams_get_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    for (template, text) in
        [(Template::Slack, "/text"), (Template::Teams, "/attachments/0/content/body/0/text")]
    {
        let server = WebServer::start(None, vec![("200 OK", "ok")]);
        let url = format!("http://localhost:{}/", server.port);
        let hook = Webhook { template, ..webhook(&url, dir.path()) };
        let state = dir.path().join(format!("{template:?}"));
        let mut house = House::start(settings(vec![("chat", Means::Webhook(hook))]), &state);
        house.tell(&alert(15, 1));
        let told: Value = serde_json::from_str(body(&server.wait(1)[0])).unwrap();
        let said = told.pointer(text).and_then(Value::as_str).unwrap();
        assert!(said.starts_with("MRI 15 (10.77.0.15): ARP スキャン: "), "{said}");
        let all = told.to_string();
        assert!(all.contains("sekisho incidents judge 15 false") && all.contains("区画 radiology"), "{all}");
        // In Slack's texts a `<` begins a link.
        assert_eq!(all.contains("<COMPUTER>"), template == Template::Teams, "{all}");
    }
}

#[test]
fn who_is_not_trusted_or_refuses_is_said_without_the_secret_of_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "house");
    let stranger = Authority::new(dir.path(), "stranger");
    let server = WebServer::start(Some(&stranger), vec![("200 OK", "")]);
    let refuses = WebServer::start(None, vec![("404 Not Found", "no_such_hook")]);
    for (url, want) in [
        (format!("https://localhost:{}/T0/secret", server.port), "no trusted connection"),
        (format!("http://localhost:{}/T0/secret", refuses.port), "404 Not Found no_such_hook"),
    ] {
        let hook = Means::Webhook(webhook(&url, &authority.ca));
        let house = House::start(settings(vec![("chat", hook)]), &dir.path().join("notices"));
        let said = house.test("chat").unwrap_err();
        assert!(said.contains(want) && !said.contains("secret"), "{said}");
    }
    assert_eq!(server.requests.lock().unwrap().len(), 0);
}
