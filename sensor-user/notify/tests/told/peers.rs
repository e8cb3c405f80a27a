//! Those who are told: real servers on loopback where Debian has them, and lamps that remember every byte.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// Waits for something, or gives up after `seconds`.
pub fn until<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority, and a certificate of it for `localhost`.
pub struct Authority {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let cert =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let write = |file: &str, text: String| {
            let path = dir.join(format!("{name}-{file}.pem"));
            fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca: write("ca", ca.pem()),
            cert: write("cert", cert.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

impl Authority {
    /// An authority whose own certificate is for `localhost`, as openssl makes one unless told otherwise.
    pub fn that_serves(dir: &Path) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key_pair = KeyPair::generate().unwrap();
        let (cert, key) = (dir.join("own-cert.pem"), dir.join("own-key.pem"));
        fs::write(&cert, params.self_signed(&key_pair).unwrap().pem()).unwrap();
        fs::write(&key, key_pair.serialize_pem()).unwrap();
        Self { ca: cert.clone(), cert, key }
    }
}

/// A process that ends with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mail server.
pub struct MailServer {
    pub port: u16,
    inbox: PathBuf,
    _process: Process,
}

impl MailServer {
    pub fn start(port: u16, security: &str, authority: &Authority, inbox: &Path, behaviour: &str) -> Self {
        fs::create_dir_all(inbox).unwrap();
        let mut child = Command::new("/usr/bin/python3")
            .args(["-W", "ignore", "-c", include_str!("smtpd.py"), &port.to_string(), security])
            .args([&authority.cert, &authority.key])
            .arg(inbox)
            .arg(behaviour)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with aiosmtpd (Debian package python3-aiosmtpd)");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server says its port");
        Self { port, inbox: inbox.to_owned(), _process: Process(child) }
    }

    /// The mails so far, in their order.
    pub fn mails(&self) -> Vec<Value> {
        let files = fs::read_dir(&self.inbox).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        files.sort();
        files.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }

    /// Waits for so many mails.
    pub fn wait(&self, count: usize) -> Vec<Value> {
        until("mail", 20, || Some(self.mails()).filter(|mails| mails.len() >= count))
    }
}

/// What a lamp heard, and how it looks.
#[derive(Default)]
pub struct Heard {
    pub requests: Vec<Vec<u8>>,
    pub lights: [u8; 6],
}

/// A lamp that speaks PNS: it answers as the manual says, and keeps every byte.
#[derive(Clone)]
pub struct PnsLamp {
    pub port: u16,
    pub heard: Arc<Mutex<Heard>>,
}

impl PnsLamp {
    pub fn start(product: &'static [u8; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lamp = Self { port: listener.local_addr().unwrap().port(), heard: Arc::default() };
        let heard = Arc::clone(&lamp.heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve_pns(stream.unwrap(), product, &heard);
            }
        });
        lamp
    }

    pub fn lights(&self) -> [u8; 6] {
        self.heard.lock().unwrap().lights
    }

    /// What it was told, without the questions for how it looks.
    pub fn orders(&self) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        heard.requests.iter().filter(|request| request.get(2) != Some(&b'G')).cloned().collect()
    }

    pub fn wait(&self, lights: [u8; 6]) {
        until(&format!("lights {lights:?}"), 10, || (self.lights() == lights).then_some(()));
    }
}

fn serve_pns(mut stream: TcpStream, product: &[u8; 2], heard: &Mutex<Heard>) {
    let mut head = [0; 6];
    while stream.read_exact(&mut head).is_ok() {
        let mut data = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
        stream.read_exact(&mut data).unwrap();
        let mut heard = heard.lock().unwrap();
        heard.requests.push([&head[..], &data].concat());
        let good = head[..2] == *product && head[3] == 0;
        let answer = match (head[2], data.len()) {
            (b'S', 6) if good && data[..5].iter().all(|b| matches!(b, 0..=3 | 9)) => {
                for (light, told) in heard.lights.iter_mut().zip(data).filter(|(_, told)| *told != 9) {
                    *light = told;
                }
                vec![0x06]
            }
            (b'C', 0) if good => {
                heard.lights = [0; 6];
                vec![0x06]
            }
            (b'G', 0) if good => heard.lights.to_vec(),
            _ => vec![0x15],
        };
        stream.write_all(&answer).unwrap();
    }
}

/// A web server that keeps what it was asked, and answers as it is told.
pub struct WebServer {
    pub port: u16,
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl WebServer {
    /// `answers`: status and body, one after the other; the last is repeated. With TLS if there is an authority.
    pub fn start(authority: Option<&Authority>, answers: Vec<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let config = authority.map(server_config);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let answer = |count: usize| answers[count.min(answers.len() - 1)];
                match &config {
                    None => serve_web(stream, &kept, answer),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        serve_web(rustls::StreamOwned::new(connection, stream), &kept, answer);
                    }
                }
            }
        });
        Self { port, requests }
    }

    /// Waits for so many requests.
    pub fn wait(&self, count: usize) -> Vec<String> {
        until("request", 20, || {
            let requests = self.requests.lock().unwrap();
            (requests.len() >= count).then(|| requests.clone())
        })
    }
}

fn server_config(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let certs = CertificateDer::pem_file_iter(&authority.cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&authority.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(certs, key).unwrap())
}

/// One request a connection.
fn serve_web(
    mut stream: impl Read + Write,
    kept: &Mutex<Vec<String>>,
    answer: impl Fn(usize) -> (&'static str, &'static str),
) {
    let mut request = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        // A peer that does not trust us leaves.
        let Ok(count @ 1..) = stream.read(&mut piece) else { return };
        request.extend(&piece[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let (status, said) = {
            let mut kept = kept.lock().unwrap();
            kept.push(text);
            answer(kept.len() - 1)
        };
        let length = said.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{said}"
        );
        let _ = stream.flush();
        return;
    }
}

/// A lamp that speaks SNMP: it says yes to everything, and keeps what it was told to set, as `object=number`.
pub fn snmp_lamp() -> (u16, Arc<Mutex<Vec<Vec<String>>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let sets: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let kept = Arc::clone(&sets);
    thread::spawn(move || {
        let mut bytes = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let pdu = snmp2::Pdu::from_bytes(&bytes[..length]).unwrap();
            assert_eq!(pdu.community, b"lamps");
            let set = pdu.message_type == snmp2::MessageType::SetRequest;
            if set {
                let told = pdu.varbinds.map(|(oid, value)| match value {
                    snmp2::Value::Integer(number) => format!("{oid}={number}"),
                    other => panic!("{other:?}"),
                });
                kept.lock().unwrap().push(told.collect());
            }
            // The answer is the request with another tag, which comes right after the community.
            let at = bytes[..length].windows(5).position(|text| text == b"lamps").unwrap() + 5;
            bytes[at] = snmp2::snmp::MSG_RESPONSE;
            socket.send_to(&bytes[..length], from).unwrap();
        }
    });
    (port, sets)
}
