//! Mail, to a real server with TLS.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sensor_core::event::Change;
use sensor_core::time::SECOND;
use sensor_notify::settings::{Mail, Means, Security};

use crate::events::{alert, isolation};
use crate::peers::{Authority, MailServer, WebServer, free_port, until};
use crate::web::webhook;
use crate::{House, local, settings};

fn mail(port: u16, security: Security, ca: &Path, dir: &Path) -> Mail {
    let password = dir.join("password");
    fs::write(&password, "pass word\n").unwrap();
    Mail {
        server: local(port),
        security,
        ca_file: ca.to_owned(),
        login: (security != Security::None).then(|| ("sekisho".to_owned(), password)),
        from: "Sekisho <sekisho@example.jp>".to_owned(),
        to: vec!["it@example.jp".to_owned(), "山田 <yamada@example.jp>".to_owned()],
        gather_ns: SECOND,
        per_hour: 12,
    }
}

struct Post {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Post {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "house");
        Self { dir, authority }
    }

    fn server(&self, port: u16, security: &str, behaviour: &str) -> MailServer {
        MailServer::start(port, security, &self.authority, &self.dir.path().join("inbox"), behaviour)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("notices")
    }

    fn house(&self, mail: Mail) -> House {
        House::start(settings(vec![("it", Means::Mail(mail))]), &self.state())
    }

    fn mail(&self, port: u16, security: Security) -> Mail {
        mail(port, security, &self.authority.ca, self.dir.path())
    }

    /// Notices that wait on the disk.
    fn waiting(&self) -> usize {
        let files = fs::read_dir(self.state().join("it")).into_iter().flatten().flatten();
        // One that is being written is none yet.
        files.filter(|file| file.path().extension().is_some_and(|ending| ending == "json")).count()
    }
}

#[test]
fn a_burst_is_one_mail_with_all_that_a_person_needs() {
    let post = Post::new();
    for (name, security) in
        [("starttls", Security::StartTls), ("tls", Security::Tls), ("none", Security::None)]
    {
        let server = MailServer::start(0, name, &post.authority, &post.dir.path().join(name), "good");
        let mut house = post.house(post.mail(server.port, security));
        house.tell(&alert(15, 1));
        house.tell(&isolation(15, Change::Added));
        house.tell(&alert(16, 2));
        let mails = server.wait(1);
        let it = house.wait("it", "told", 10, |channel| channel.sent == 3 && channel.waiting == 0);
        assert_eq!(it.last_answer.as_deref(), Some("250 2.0.0 queued as 1"), "{name}");
        assert_eq!((mails.len(), post.waiting()), (1, 0), "{name}: {mails:#?}");
        let mail = &mails[0];
        let guarded = security != Security::None;
        assert_eq!((mail["tls"] == true, mail["authenticated"] == true), (guarded, guarded), "{name}");
        assert_eq!(mail["to"], serde_json::json!(["it@example.jp", "yamada@example.jp"]));
        assert_eq!(mail["automatic"], "auto-generated");
        assert_eq!(
            mail["subject"],
            "[Sekisho] 隔離: MRI 15 (10.77.0.15) ほか 1 件 / MRI 15 (10.77.0.15) is cut off and 1 more"
        );
        let (text, html) = (mail["text"].as_str().unwrap(), mail["html"].as_str().unwrap());
        for want in [
            "04:92:26:00:00:0f, 10.77.0.15",
            "ポート eth1、VLAN 20、区画 radiology",
            "port eth1, VLAN 20, segment radiology",
            "失敗した初回接続 20",
            "next to certain",
            "2.5 ms after the first evidence",
            "1 service with 1 peer, 2 conversations now",
            "uses tcp/104 of PACS (10.77.0.2)",
            "PACS (10.77.0.2) の tcp/104 を利用",
            "sekisho block remove --id 15",
            "sekisho incidents judge 16 false",
        ] {
            assert!(text.contains(want) && html.contains(want), "{want}\n{text}");
        }
        assert!(html.contains("ASUSTek &lt;COMPUTER&gt; INC."), "{html}");
    }
}

#[test]
fn a_server_that_is_down_gets_it_when_it_is_back() {
    let post = Post::new();
    let port = free_port();
    let mut house = post.house(post.mail(port, Security::StartTls));
    house.tell(&alert(15, 1));
    let it = house.wait("it", "a failure", 10, |channel| channel.failed == 1);
    assert!(it.last_error.unwrap().contains("onnection refused"));
    assert_eq!((it.failing, it.waiting, post.waiting()), (false, 1, 1));
    let server = post.server(port, "starttls", "good");
    assert_eq!(server.wait(1).len(), 1);
    house.wait("it", "told", 5, |channel| channel.sent == 1 && !channel.failing);
}

#[test]
fn a_refusal_is_an_alarm_on_the_others_once_and_told_when_it_works_again() {
    let post = Post::new();
    let web = WebServer::start(None, vec![("200 OK", "")]);
    let server = post.server(0, "starttls", "refuse");
    let port = server.port;
    let mail = Means::Mail(post.mail(port, Security::StartTls));
    let url = format!("http://localhost:{}/hook", web.port);
    let channels = vec![("it", mail), ("chat", Means::Webhook(webhook(&url, &post.authority.ca)))];
    let mut house = House::start(settings(channels), &post.state());
    house.tell(&alert(15, 1));
    let it = house.wait("it", "failing", 15, |channel| channel.failing);
    assert!(it.last_error.as_deref().unwrap().contains("no such person"), "{it:?}");
    // The alert itself, and that the mail fails.
    let told = web.wait(2);
    assert!(told[1].contains("\"kind\":\"channel\"") && told[1].contains("no such person"), "{}", told[1]);

    let said = house.test("it").unwrap_err();
    assert!(said.contains("refuses") && said.contains("550") || said.contains("no such person"), "{said}");
    drop(server);
    let server = post.server(port, "starttls", "good");
    assert_eq!(house.test("it").unwrap(), "250 2.0.0 queued as 1");
    // After a test that went well, what waits need not wait for the next attempt.
    let mails = server.wait(2);
    assert!(mails[0]["text"].as_str().unwrap().contains("a test by root"), "{mails:#?}");
    assert!(mails[1]["text"].as_str().unwrap().contains("ARP scan"), "{mails:#?}");
    let told = web.wait(3);
    assert!(told[2].contains("it tells again"), "{}", told[2]);
    assert_eq!(told.len(), 3, "once each: {told:#?}");
    house.wait("chat", "told", 5, |chat| chat.sent == 3 && chat.failed == 0);
}

#[test]
fn a_server_that_is_busy_is_asked_again_soon() {
    let post = Post::new();
    let server = post.server(0, "none", "busy");
    let port = server.port;
    let mut house = post.house(post.mail(port, Security::None));
    house.tell(&alert(15, 1));
    let it = house.wait("it", "a failure", 10, |channel| channel.failed == 1);
    assert!(it.last_error.unwrap().contains("come again later"));
    assert!(!it.failing);
    drop(server);
    post.server(port, "none", "good").wait(1);
}

#[test]
fn nothing_is_said_to_a_server_of_another_authority_or_another_name() {
    let post = Post::new();
    let stranger = Authority::new(post.dir.path(), "stranger");
    for (name, security) in [("starttls", Security::StartTls), ("tls", Security::Tls)] {
        let server = MailServer::start(0, name, &stranger, &post.dir.path().join(name), "good");
        let mut by_address = mail(server.port, security, &stranger.ca, post.dir.path());
        by_address.server.host = "127.0.0.1".to_owned();
        for mail in [post.mail(server.port, security), by_address] {
            let house = post.house(mail);
            let said = house.test("it").unwrap_err();
            assert!(said.starts_with("no trusted connection to ") && said.contains("ca_file"), "{said}");
        }
        assert_eq!(server.mails().len(), 0);
    }
}

/// The ca_file is right then, and to be told to give one helps nobody.
#[test]
fn what_is_wrong_with_a_certificate_that_openssl_makes_by_itself_is_said() {
    let post = Post::new();
    let own = Authority::that_serves(post.dir.path());
    for (name, security) in [("starttls", Security::StartTls), ("tls", Security::Tls)] {
        let server = MailServer::start(0, name, &own, &post.dir.path().join(name), "good");
        let house = post.house(mail(server.port, security, &own.ca, post.dir.path()));
        let said = house.test("it").unwrap_err();
        assert!(said.contains("(CA:TRUE)") && said.contains("basicConstraints=critical,CA:FALSE"), "{said}");
        assert_eq!(server.mails().len(), 0);
    }
}

#[test]
fn a_wrong_password_or_a_missing_file_is_said() {
    let post = Post::new();
    let server = post.server(0, "starttls", "good");
    let mail = post.mail(server.port, Security::StartTls);
    let (_, password) = mail.login.clone().unwrap();
    let house = post.house(mail);
    fs::write(&password, "wrong").unwrap();
    let said = house.test("it").unwrap_err();
    assert!(said.contains("refuses") && !said.contains("wrong"), "{said}");
    fs::remove_file(&password).unwrap();
    let said = house.test("it").unwrap_err();
    assert!(said.contains("cannot read") && said.contains("password_file"), "{said}");
    // It is read anew each time.
    fs::write(&password, "pass word").unwrap();
    assert!(house.test("it").is_ok());
}

#[test]
fn a_slow_or_silent_server_holds_nobody_up_and_what_is_too_much_is_counted() {
    let post = Post::new();
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = post.house(post.mail(silent.local_addr().unwrap().port(), Security::None));
    house.tell(&alert(15, 1));
    // Until it hangs in the conversation.
    let (_connection, _) = silent.accept().unwrap();
    let started = Instant::now();
    let mut worst = Duration::ZERO;
    for number in 0..20_000u32 {
        let before = Instant::now();
        house.tell(&alert((number % 200) as u8, 3));
        worst = worst.max(before.elapsed());
    }
    eprintln!("20,000 notices handed over in {:?}, the slowest in {worst:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
    // Of those that came through, 1,000 wait; the others are counted.
    let it = until("counted", 60, || Some(house.channel("it")).filter(|it| it.lost == 20_001 - 1_000));
    assert_eq!((it.waiting, post.waiting()), (1_000, 1_000));
    let before = Instant::now();
    house.notifier.close();
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
}

#[test]
fn a_slow_server_is_waited_for() {
    let post = Post::new();
    let server = post.server(0, "starttls", "slow");
    let mut house = post.house(post.mail(server.port, Security::StartTls));
    house.tell(&alert(15, 1));
    server.wait(1);
    house.wait("it", "told", 5, |channel| channel.sent == 1 && channel.failed == 0);
}

/// The directory of the house that is killed below.
const DOOMED: &str = "SEKISHO_TEST_DOOMED";

/// Not a test: a house whose server is down, that is told something and then killed.
#[test]
#[ignore = "run by a_daemon_that_is_killed_loses_nothing_it_was_told"]
fn doomed() {
    let Ok(dir) = std::env::var(DOOMED) else { return };
    let (dir, port) = (PathBuf::from(&dir), free_port());
    let mail = mail(port, Security::None, Path::new("/nonexistent"), &dir);
    let mut house = House::start(settings(vec![("it", Means::Mail(mail))]), &dir.join("notices"));
    for number in 0..50 {
        house.tell(&alert(number, 1));
    }
    house.wait("it", "taken in", 10, |channel| channel.waiting == 50);
    println!("waiting");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_daemon_that_is_killed_loses_nothing_it_was_told() {
    let post = Post::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "mail::doomed", "--ignored", "--nocapture"])
        .env(DOOMED, post.dir.path())
        .spawn()
        .unwrap();
    until("written down", 20, || (post.waiting() == 50).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    // The power went while another was written.
    fs::write(post.state().join("it/00000000000000000007.new"), "{\"id\":").unwrap();

    let server = post.server(0, "starttls", "good");
    let house = post.house(post.mail(server.port, Security::StartTls));
    let mails = server.wait(1);
    house.wait("it", "told", 5, |channel| channel.sent == 50);
    assert_eq!((mails.len(), post.waiting()), (1, 0));
    assert!(mails[0]["subject"].as_str().unwrap().ends_with("and 49 more"), "{}", mails[0]["subject"]);
    assert!(mails[0]["id"].as_str().unwrap().ends_with("@example.jp>"));
}
