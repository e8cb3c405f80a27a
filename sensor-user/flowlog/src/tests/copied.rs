//! Finished hours are copied elsewhere.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::traffic::EPOCH;
use super::{HOUR, KEEPING, Log, numbered};
use crate::lake::{Lake, copy};

fn names(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn finished_hours_are_copied_to_a_folder_once() {
    let (log, folder) = (Log::new(), tempfile::tempdir().unwrap());
    let lake = Lake {
        url: folder.path().to_str().unwrap().to_owned(),
        name: "building-a".to_owned(),
        ..Lake::default()
    };
    let now = EPOCH / 1_000 + 3 * HOUR - HOUR / 2;
    for hour in 0..3 {
        for part in 0..2 {
            log.write(numbered(hour, part * 100..(part + 1) * 100));
        }
    }
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(names(folder.path()), [""; 0], "nothing is finished");
    log.tidier(KEEPING).step(now, true, &|| false).unwrap();
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    let begin = EPOCH / 1_000;
    let want: Vec<_> = (0..2)
        .map(|hour| {
            format!("box=building-a/day=2026-11-28/hour=0{}/hour-{}.parquet", 3 + hour, begin + hour * HOUR)
        })
        .collect();
    assert_eq!(names(folder.path()), want);
    for name in &want {
        let own = log.path().join(name.strip_prefix("box=building-a/").unwrap());
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), fs::read(own).unwrap());
    }
    // What was copied is known over a restart, and not copied again, also if somebody moved it on.
    fs::remove_file(folder.path().join(&want[0])).unwrap();
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(names(folder.path()), want[1..]);
    assert_eq!(log.counts.copied.load(Ordering::Relaxed), 2);
    // What a copy that was killed left beside it is cleared away.
    let left = folder.path().join(format!("{}#1", want[1]));
    fs::write(&left, "half").unwrap();
    // An hour that changed is copied in the place of what was there.
    log.write(numbered(1, 500..600));
    log.tidier(KEEPING).step(now, true, &|| false).unwrap();
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(names(folder.path()), want[1..]);
    let own = log.path().join(want[1].strip_prefix("box=building-a/").unwrap());
    assert_eq!(fs::read(folder.path().join(&want[1])).unwrap(), fs::read(own).unwrap());
    // Another place gets all of it.
    let other = tempfile::tempdir().unwrap();
    let lake = Lake { url: other.path().to_str().unwrap().to_owned(), ..lake };
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(names(other.path()), want);
}

#[test]
fn a_place_that_is_not_there_is_told_and_tried_again() {
    let (log, folder) = (Log::new(), tempfile::tempdir().unwrap());
    let place = folder.path().join("mounted");
    let lake = Lake { url: place.to_str().unwrap().to_owned(), name: "a".to_owned(), ..Lake::default() };
    let now = EPOCH / 1_000 + 3 * HOUR;
    log.write(numbered(0, 0..100));
    log.tidier(KEEPING).step(now, true, &|| false).unwrap();
    let told = copy(&lake, &log.shelf, &log.counts, now).unwrap_err().to_string();
    assert!(told.starts_with(&format!("cannot use {} for finished hours: ", place.display())), "{told}");
    assert_eq!(log.counts.copy_waiting.load(Ordering::Relaxed), 1);
    fs::create_dir(&place).unwrap();
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(names(&place).len(), 1);
    assert_eq!(log.counts.copy_waiting.load(Ordering::Relaxed), 0);
}

/// A server that speaks S3: moto, from PyPI. It ends with the test.
struct Server {
    child: std::process::Child,
    address: String,
}

impl Server {
    fn start(address: &str) -> Self {
        let port = address.rsplit_once(':').unwrap().1;
        let mut command = std::process::Command::new(super::readers::python());
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", port]);
        let (out, err) = (std::process::Stdio::null(), std::process::Stdio::null());
        let child = command.stdout(out).stderr(err).spawn().unwrap();
        let server = Self { child, address: address.to_owned() };
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begun.elapsed().as_secs() < 60, "moto does not start");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        server
    }

    /// A request without a signature, which moto does not ask for.
    fn ask(&self, method: &str, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn finished_hours_are_copied_to_a_server_that_speaks_s3_when_it_is_there() {
    let log = Log::new();
    // A port that is free now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // It may come later.
    let secret_file = log.path().join("secret");
    let lake = Lake {
        url: "s3://lake/sekisho".to_owned(),
        name: "building-a".to_owned(),
        endpoint: Some(format!("http://{address}")),
        region: "us-east-1".to_owned(),
        key_id: "key".to_owned(),
        secret_file,
    };
    let now = EPOCH / 1_000 + 3 * HOUR;
    // More than one piece of S3's smallest, 5 MiB.
    log.write(numbered(0, 0..500_000));
    log.tidier(KEEPING).step(now, true, &|| false).unwrap();
    let begin = EPOCH / 1_000;
    let name = format!("day=2026-11-28/hour=03/hour-{begin}.parquet");
    let size = fs::metadata(log.path().join(&name)).unwrap().len();
    assert!(size > 8 << 20, "{size}");

    let told = copy(&lake, &log.shelf, &log.counts, now).unwrap_err().to_string();
    assert!(told.starts_with("cannot read the secret of S3 in"), "{told}");
    fs::write(&lake.secret_file, "secret\n").unwrap();
    let told = copy(&lake, &log.shelf, &log.counts, now).unwrap_err().to_string();
    assert!(told.starts_with("cannot use s3://lake/sekisho for finished hours: "), "{told}");
    let server = Server::start(&address);
    let told = copy(&lake, &log.shelf, &log.counts, now).unwrap_err().to_string();
    assert!(told.contains("NoSuchBucket"), "{told}");
    assert!(server.ask("PUT", "/lake").starts_with("HTTP/1.1 200"));
    copy(&lake, &log.shelf, &log.counts, now).unwrap();
    assert_eq!(log.counts.copied.load(Ordering::Relaxed), 1);
    let there = server.ask("HEAD", &format!("/lake/sekisho/box%3Dbuilding-a/{}", name.replace('=', "%3D")));
    assert!(there.starts_with("HTTP/1.1 200"), "{there}");
    assert!(there.to_lowercase().contains(&format!("content-length: {size}\r\n")), "{size}: {there}");
}
