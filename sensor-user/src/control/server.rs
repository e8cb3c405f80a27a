//! The socket itself: who may connect, how many, how long.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sensor_core::engine::{Command, Judge};
use sensor_core::event::Ordered;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::list::List;
use super::request::{self, Part, Wish, bad};
use super::{Ask, ControlError, NotifyAsk, Recall, answer, peer};
use crate::clock::WallClock;
use crate::protocol::{Answer, Envelope, MAX_REQUEST, Refusal, RefusalKind, VERSION};

/// Most clients at a time.
const MAX_CLIENTS: usize = 32;

/// How long a client may take for a request or to read its answer, and the daemon for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a try of a channel may take: its server is another machine, and each step with it has a limit of its own.
const TRY_PATIENCE: Duration = Duration::from_secs(60);

/// The listening socket. Its file goes when this is dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that a successor's is not removed.
    file: (u64, u64),
    patience: Duration,
}

impl Server {
    /// Listens at `path`, which members of `group` may open besides root. Must be called within a tokio runtime.
    pub fn bind(path: &Path, group: &str) -> Result<Self, ControlError> {
        let error = |what| move |source| ControlError::Io { what, path: path.to_owned(), source };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755).create(dir).map_err(error("create the directory of"))?;
        }
        ensure_free(path)?;
        // Under another name until only those may open it who should.
        let young = path.with_extension(format!("{}.new", std::process::id()));
        remove(&young).map_err(error("replace a file beside"))?;
        let listener = UnixListener::bind(&young).map_err(error("listen at"))?;
        let ready = fs::set_permissions(&young, Permissions::from_mode(0o660))
            .and_then(|()| fs::metadata(&young))
            .and_then(|meta| {
                give_to_group(&young, group);
                fs::rename(&young, path).map(|()| meta)
            });
        let meta = ready.map_err(|source| {
            drop(remove(&young));
            error("listen at")(source)
        })?;
        Ok(Self { listener, path: path.to_owned(), file: (meta.dev(), meta.ino()), patience: PATIENCE })
    }

    /// Another patience than the usual.
    #[cfg(test)]
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Serves clients until dropped. `clock` turns times into dates, `recall` knows incidents of earlier runs.
    pub async fn serve(&self, asks: mpsc::Sender<Ask>, clock: fn() -> WallClock, recall: Recall) {
        let seats = Arc::new(Semaphore::new(MAX_CLIENTS));
        let desk = Arc::new(Semaphore::new(1));
        let mut clients = JoinSet::new();
        loop {
            // Clients that are done make room in the set.
            while clients.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::warn!("control socket {}: {error}", self.path.display());
                    // Out of file descriptors, most likely: others must close theirs first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let patience = self.patience;
            match Arc::clone(&seats).try_acquire_owned() {
                Ok(seat) => {
                    let client =
                        Client::new(stream, asks.clone(), (clock, Arc::clone(&recall)), patience, &desk);
                    clients.spawn(async move {
                        client.run().await;
                        drop(seat);
                    });
                }
                Err(_) => drop(clients.spawn(turn_away(stream))),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file);
        if own && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Makes sure that nobody serves that path; the file of one who died is removed.
fn ensure_free(path: &Path) -> Result<(), ControlError> {
    let error = |what, source| ControlError::Io { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error("look at", source)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ControlError::NotSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse { path: path.to_owned() }),
        Err(dead) if matches!(dead.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
            remove(path).map_err(|source| error("remove the stale socket", source))
        }
        Err(source) => Err(error("connect to", source)),
    }
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lets the group use the socket. Without it only root can, which a message tells.
fn give_to_group(path: &Path, group: &str) {
    let given = match peer::group_id(group) {
        Some(gid) => chown(path, None, Some(gid)).map_err(|error| error.to_string()),
        None => Err(format!("there is no such group; create it with: groupadd --system {group}")),
    };
    if let Err(why) = given {
        log::info!("the control socket is for root only, not for group {group}: {why}");
    }
}

/// Tells a client that there are too many.
async fn turn_away(mut stream: UnixStream) {
    let message = format!("{MAX_CLIENTS} clients are connected already; try again in a moment");
    let line = line(Err(Refusal::new(RefusalKind::Busy, message)));
    // One who does not read it has left, and missed nothing.
    drop(timeout(Duration::from_secs(1), stream.write_all(&line)).await);
}

/// An answer as a line.
fn line(answer: Result<serde_json::Value, Refusal>) -> Vec<u8> {
    let body = answer.map_or_else(Answer::Error, Answer::Ok);
    let mut line = serde_json::to_vec(&Envelope { version: VERSION, body }).unwrap_or_default();
    line.push(b'\n');
    line
}

struct Client {
    /// Dropped first: when the client sees that it is let go, another one may send a list.
    list: List,
    lines: BufReader<OwnedReadHalf>,
    answers: OwnedWriteHalf,
    owner: String,
    uid: u32,
    asks: mpsc::Sender<Ask>,
    clock: fn() -> WallClock,
    recall: Recall,
    patience: Duration,
}

impl Client {
    fn new(
        stream: UnixStream,
        asks: mpsc::Sender<Ask>,
        (clock, recall): (fn() -> WallClock, Recall),
        patience: Duration,
        desk: &Arc<Semaphore>,
    ) -> Self {
        // One who left at once has no account any more; nothing he asks for will come.
        let uid = stream.peer_cred().map_or(u32::MAX, |cred| cred.uid());
        let owner = peer::user_name(uid);
        let (read, answers) = stream.into_split();
        let list = List::new(Arc::clone(desk));
        Self { list, lines: BufReader::new(read), answers, owner, uid, asks, clock, recall, patience }
    }

    /// Answers requests until the client is done, too slow or not understood.
    async fn run(mut self) {
        let mut request = Vec::new();
        loop {
            request.clear();
            let mut bounded = (&mut self.lines).take(MAX_REQUEST as u64);
            let read = timeout(self.patience, bounded.read_until(b'\n', &mut request)).await;
            let Ok(Ok(length)) = read else { return };
            if length == 0 {
                return;
            }
            let whole = request.ends_with(b"\n") || length < MAX_REQUEST;
            let answer = if whole {
                self.answer(&request).await
            } else {
                Err(bad(format!("the request is longer than {MAX_REQUEST} bytes")))
            };
            let line = line(answer);
            let written = timeout(self.patience, self.answers.write_all(&line)).await;
            if !whole || !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Answers a request; one that is an order is told, with what came of it.
    async fn answer(&mut self, request: &[u8]) -> Result<serde_json::Value, Refusal> {
        let wish = request::read(request, &self.owner).inspect_err(|_| self.list.clear())?;
        let order = request::order(request, &wish);
        let answer = match wish {
            Wish::Part(part) => self.list.add(part, request.len()).map(serde_json::Value::from),
            wish => self.carry_out(wish).await,
        };
        if let Some((order, with)) = order {
            let refused = answer.as_ref().err().map(|refusal| refusal.message.clone());
            let note = Ordered { by: self.owner.clone(), order, with, refused };
            // Nobody takes it any more when the daemon stops; then the order was refused, too.
            drop(timeout(self.patience, self.asks.send(Ask::Note(note))).await);
        }
        answer
    }

    async fn carry_out(&mut self, wish: Wish) -> Result<serde_json::Value, Refusal> {
        match wish {
            Wish::See(part) => self.see(part).await,
            Wish::Order(command) => {
                let command = self.list.complete(command);
                let command = self.with_former(command).await;
                let (sender, receiver) = oneshot::channel();
                let reply = self.ask(Ask::Command(command, sender), receiver).await?;
                let reply = reply.map_err(|error| answer::refusal(&error))?;
                Ok(answer::reply(&reply, &(self.clock)()))
            }
            Wish::Part(_) => Err(bad("a part of a list is no order by itself")),
            Wish::Bypass(on) => {
                let (sender, receiver) = oneshot::channel();
                let switched = self.ask(Ask::Bypass(on, self.uid, sender), receiver).await?;
                let switched = switched.map_err(refused)?;
                Ok(serde_json::to_value(switched).unwrap_or_default())
            }
            Wish::Drilled(good) => {
                let (sender, receiver) = oneshot::channel();
                self.ask(Ask::Drilled(good, sender), receiver).await?;
                Ok(true.into())
            }
            Wish::Model(ask) => {
                let (sender, receiver) = oneshot::channel();
                let said = self.ask(Ask::Model(ask, sender), receiver).await?;
                said.map_err(refused)
            }
            Wish::Notify(ask) => {
                let (sender, receiver) = oneshot::channel();
                // A channel answers when it has done what it is about.
                let patience = if matches!(ask, NotifyAsk::List) { self.patience } else { TRY_PATIENCE };
                let ask = Ask::Notify(ask, self.owner.clone(), sender);
                let said = self.ask_for(patience, ask, receiver).await?;
                said.map_err(refused)
            }
        }
    }

    /// A judgement with what is known of its incident, should that be one of an earlier run.
    async fn with_former(&self, command: Command) -> Command {
        let Command::Judge(judge) = command else { return command };
        let (recall, incident) = (Arc::clone(&self.recall), judge.incident);
        // It is read from the disk.
        let former = tokio::task::spawn_blocking(move || recall(incident)).await.ok().flatten();
        Command::Judge(Judge { former, ..judge })
    }

    async fn see(&self, part: Part) -> Result<serde_json::Value, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let view = self.ask(Ask::Snapshot(sender), receiver).await?;
        let clock = self.clock;
        // Tens of thousands of devices take a while to write; packets must not wait for that.
        let written = tokio::task::spawn_blocking(move || answer::part(&view, part, &clock())).await;
        written.map_err(|_| busy())
    }

    /// Asks the pipeline, and waits for its answer for a while.
    async fn ask<T>(&self, ask: Ask, receiver: oneshot::Receiver<T>) -> Result<T, Refusal> {
        self.ask_for(self.patience, ask, receiver).await
    }

    /// The same, with another patience.
    async fn ask_for<T>(
        &self,
        patience: Duration,
        ask: Ask,
        receiver: oneshot::Receiver<T>,
    ) -> Result<T, Refusal> {
        let exchange = async {
            self.asks.send(ask).await.ok()?;
            receiver.await.ok()
        };
        timeout(patience, exchange).await.ok().flatten().ok_or_else(busy)
    }
}

fn busy() -> Refusal {
    let message = "the daemon does not answer: it is stopping or has too much to do; try again";
    Refusal::new(RefusalKind::Busy, message)
}

fn refused(message: String) -> Refusal {
    Refusal::new(RefusalKind::Refused, message)
}
