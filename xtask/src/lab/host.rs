//! What runs inside the lab's namespaces: a host that serves and talks, and a fetch of one page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::ui;

/// How long an answer may take. Longer than a lost segment's first repetition (200 ms on Linux), so that one lost
/// frame is no failure, and an address that does not answer is.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question's and an answer's size: more than one segment, as real exchanges are.
const SIZE: usize = 4000;

#[derive(Args)]
pub struct HostArgs {
    /// Answer on this address
    #[arg(long)]
    listen: Vec<SocketAddr>,
    /// Talk to this address: NAME=ADDRESS
    #[arg(long)]
    peer: Vec<String>,
    /// Pause between two exchanges
    #[arg(long, default_value_t = 250)]
    every_ms: u64,
}

/// Serves and talks until it is ended, one line for each exchange: `PEER ok MILLISECONDS` or `PEER failed REASON`.
pub fn serve(args: &HostArgs) -> Result<()> {
    for address in &args.listen {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        thread::spawn(move || answer_all(&listener));
    }
    let mut peers = Vec::new();
    for peer in &args.peer {
        let (name, address) = peer.split_once('=').context("a peer is NAME=ADDRESS")?;
        peers.push((name, address.parse::<SocketAddr>().with_context(|| format!("no address: {address}"))?));
    }
    loop {
        for (name, address) in &peers {
            let started = Instant::now();
            match exchange(address) {
                Ok(()) => ui::line(&format!("{name} ok {:.2}", started.elapsed().as_secs_f64() * 1e3)),
                Err(error) => ui::line(&format!("{name} failed {error:#}")),
            }
        }
        thread::sleep(Duration::from_millis(args.every_ms));
    }
}

fn answer_all(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Whoever scans leaves half-open connections behind: each has its own thread and its end.
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut question = [0; SIZE];
    stream.read_exact(&mut question)?;
    stream.write_all(&question)?;
    Ok(())
}

fn exchange(address: &SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[7; SIZE])?;
    let mut answer = [0; SIZE];
    stream.read_exact(&mut answer)?;
    Ok(())
}

/// Prints the body of a page.
pub fn get(address: SocketAddr, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("nothing answers on {address}"))?;
    stream.set_read_timeout(Some(5 * PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response).context("the answer did not end")?;
    let (head, body) = response.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("http://{address}{path} answered {status}");
    }
    ui::line(body.trim_end());
    Ok(())
}
