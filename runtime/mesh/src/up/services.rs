//! What the HTTP API needs of this peer beyond the node's own answers.
// spec: API-2, DEL-5

use super::blobs::{Blobs, Keeper};
use super::causes;
use super::driver::{Arrival, Entries, Read, Shared};
use super::handle::Handle;
use super::incoming::Refused;
use super::output;
use super::provider;
use super::runs::{Runs, Stream, Tail};
use crate::api::{Chunks, ImportReport, Later, Services, Stream as Wanted};
use bytes::Bytes;
use mesh_net::{Follow, FollowError, Net};
use mesh_node::{Command, Input, SyncReceived};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, EntryId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, Hlc, Tip};
use mesh_protocol::task::Blob;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Pieces of output on their way to a reader: of 64 KiB at most, so half a megabyte.
const PIECES: usize = 8;
/// Bytes of entries read from the store at a time; the driver does nothing else meanwhile, for a few milliseconds.
const READ: usize = 256 << 10;
/// How often an export begins anew because logs were cut off while they were read.
const EXPORTS: usize = 5;
/// How often it is looked whether an attempt that cannot be followed has been succeeded by one that can, should the
/// word of it have been missed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// For how long at most the rest is read of what a task said that has failed: where it ran may go on saying something.
const REST: Duration = Duration::from_secs(30);
/// How soon a follower tries again after the connection broke.
const AGAIN: Duration = Duration::from_millis(300);

/// The running peer, as the API sees it.
pub(crate) struct Local {
    pub(crate) me: PublicKey,
    pub(crate) node: Shared,
    pub(crate) handle: Handle,
    pub(crate) net: Net,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) reads: mpsc::Sender<Read>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) refused: Arc<Refused>,
    /// Bytes a day that it relays.
    pub(crate) relay_bytes: u64,
    /// What is known of its energy.
    pub(crate) energy: crate::energy::Report,
    /// What it was told, as it is shown.
    pub(crate) config: Arc<std::sync::Mutex<Vec<crate::config::Shown>>>,
}

/// Does something that may take its time, off the network's threads.
// spec: ARC-5
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A log's entries from a place on, as far as it counted when its end was asked for. The store holds more: what came
/// since, which names what is not in logs that were read before; and of this device's own log what counts no more.
// spec: LED-6
fn up_to(tip: &Tip, from: u64, mut piece: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let left = tip.seq.saturating_add(1).saturating_sub(from);
    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    piece
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the node is stopping")
}

impl Services for Local {
    fn put_blob(&self, mut body: Chunks, most: u64) -> Later<'_, io::Result<Blob>> {
        let blobs = self.blobs.clone();
        Box::pin(blocking(move || {
            let mut writer = blobs.writer(Keeper::Own);
            let mut len = 0u64;
            while let Some(chunk) = body.blocking_recv() {
                let chunk = chunk?;
                len += chunk.len() as u64;
                if len > most {
                    let text = format!("more than the {most} bytes that are taken");
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
                }
                writer.write_all(&chunk)?;
            }
            writer.finish()
        }))
    }

    fn need_blob(&self, hash: BlobHash) -> Later<'_, io::Result<Option<u64>>> {
        let blobs = self.blobs.clone();
        Box::pin(blocking(move || {
            let here = blobs.share(Keeper::Own, &hash)?;
            let path = blobs.path(&hash).filter(|_| here);
            Ok(path.and_then(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()))
        }))
    }

    fn given_to(&self, task: TaskId) -> Vec<Blob> {
        self.node.node().given_to(&task)
    }

    fn blob_path(&self, hash: BlobHash) -> Option<PathBuf> {
        self.blobs.path(&hash)
    }

    // spec: LED-6
    fn ledger(&self) -> Later<'_, io::Result<Vec<Vec<u8>>>> {
        Box::pin(async move {
            for _ in 0..EXPORTS {
                let tips = self.node.node().logs();
                let mut entries = self.up_to_these(&tips).await?;
                // Where a log was cut off meanwhile, what is left of it or of others may rest on what is gone.
                if self.still_count(&tips) {
                    let sorted = move || {
                        entries.sort_unstable_by_key(|(key, _)| *key);
                        Ok(entries.into_iter().map(|(_, bytes)| bytes).collect())
                    };
                    return blocking(sorted).await;
                }
            }
            Err(io::Error::other("logs are cut off again and again while they are read: try again later"))
        })
    }

    fn follow(&self, task: TaskId, stream: Wanted, from: u64) -> Later<'_, io::Result<Chunks>> {
        Box::pin(async move {
            let (sender, chunks) = mpsc::channel(PIECES);
            let follower = Follower {
                me: self.me,
                node: self.node.clone(),
                handle: self.handle.clone(),
                net: self.net.clone(),
                blobs: self.blobs.clone(),
                runs: self.runs.clone(),
                task,
                stream: match stream {
                    Wanted::Stdout => Stream::Stdout,
                    Wanted::Stderr => Stream::Stderr,
                },
                at: from,
                to: sender,
            };
            // Is there such a task at all?
            follower.result().await?;
            tokio::spawn(follower.run());
            Ok(chunks)
        })
    }

    fn net_status(&self) -> serde_json::Value {
        let peers: Vec<serde_json::Value> = self
            .net
            .connected()
            .into_iter()
            .map(|peer| {
                let rtt_us = u64::try_from(peer.rtt.as_micros()).unwrap_or(u64::MAX);
                let (path, way) = match peer.path {
                    mesh_net::Path::Direct => {
                        let addr = peer.addr.to_string();
                        (
                            "direct".to_owned(),
                            serde_json::json!({ "by": "address", "addr": addr, "rtt_us": rtt_us }),
                        )
                    }
                    mesh_net::Path::Relayed { by } => (
                        format!("relayed by {by}"),
                        serde_json::json!({ "by": "relay", "relay": by, "rtt_us": rtt_us }),
                    ),
                };
                serde_json::json!({
                    "peer": peer.peer,
                    "addr": peer.addr.to_string(),
                    "path": path,
                    "way": way,
                    "rtt_us": rtt_us,
                    "member": peer.standing == mesh_net::Standing::Member,
                    "bytes_in": peer.bytes_in,
                    "bytes_out": peer.bytes_out,
                })
            })
            .collect();
        let counters: serde_json::Map<String, serde_json::Value> =
            self.net.counters().iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let unreached = self.net.unreached().into_iter();
        let unreached: Vec<serde_json::Value> =
            unreached.map(|(peer, why)| serde_json::json!({ "peer": peer, "why": why })).collect();
        let node = serde_json::to_value(self.node.node().counters()).unwrap_or_default();
        serde_json::json!({
            "listening": self.net.local_addr().to_string(),
            "addrs": self.net.addrs().iter().map(ToString::to_string).collect::<Vec<String>>(),
            "connections": peers,
            "unreached": unreached,
            "relay_bytes_a_day": self.relay_bytes,
            "refused": counters,
            "frames_refused": self.refused.frames.load(Ordering::Relaxed),
            "gossip_refused": self.refused.gossip.load(Ordering::Relaxed),
            "node": node,
            "blob_bytes": self.blobs.used(),
        })
    }

    // spec: EN-1, EN-3
    fn energy(&self) -> serde_json::Value {
        let mut view = serde_json::to_value(self.energy.view()).unwrap_or_default();
        let outlook = self.node.node().outlook().clone();
        view["forecast"] = serde_json::json!({
            "from_ms": u64::from(outlook.hour) * mesh_protocol::ad::HOUR_MS,
            "g_per_kwh": outlook.g_per_kwh,
        });
        view["low_g_per_kwh"] = outlook.low_g_per_kwh.into();
        view["now"] = serde_json::to_value(self.node.node().energy()).unwrap_or_default();
        view
    }

    // spec: CLI-7
    fn config(&self) -> serde_json::Value {
        let shown = self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        serde_json::to_value(&*shown).unwrap_or_default()
    }

    // spec: LED-6
    fn import(&self, entries: Vec<Vec<u8>>) -> Later<'_, ImportReport> {
        Box::pin(async move {
            let mut report = ImportReport::default();
            for batch in entries.chunks(IMPORT) {
                let batch = batch.to_vec();
                let verified = tokio::task::spawn_blocking(move || {
                    batch.iter().map(|bytes| Entry::verify(bytes)).collect::<Vec<_>>()
                });
                let Ok(verified) = verified.await else {
                    report.refuse("its entries could not be verified".into());
                    return report;
                };
                let mut new = Vec::new();
                for entry in verified {
                    match entry {
                        Ok(entry) if self.node.node().ledger().has(&entry.tip()) => report.known += 1,
                        Ok(entry) => new.push(entry),
                        Err(error) => report.refuse(causes(&error)),
                    }
                }
                let tips: Vec<_> = new.iter().map(Entry::tip).collect();
                let input = Input::Sync(self.me, SyncReceived::Entries(new));
                if self.arrivals.send(input.into()).await.is_err() {
                    report.refuse(gone().to_string());
                    return report;
                }
                // Questions come after what arrived before them.
                let _looked = self.handle.ask(Command::Status).await;
                for tip in tips {
                    if self.node.node().ledger().has(&tip) {
                        report.taken += 1;
                    } else {
                        let (author, seq) = (tip.author.short(), tip.seq);
                        report.refuse(format!(
                            "entry {seq} of {author} does not follow on what is known, or does not count"
                        ));
                    }
                }
            }
            report
        })
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.net.addrs()
    }
}

/// Entries imported at once: as many as one commit takes with ease.
const IMPORT: usize = 1000;
/// Reasons kept of a file's entries that were not taken; a person reads no more.
const MAX_REASONS: usize = 100;

impl ImportReport {
    fn refuse(&mut self, why: String) {
        if self.refused.len() < MAX_REASONS {
            self.refused.push(why);
        } else {
            self.refused_more += 1;
        }
    }
}

impl Local {
    /// All entries of these logs, with their places in the order of the fold.
    async fn up_to_these(&self, tips: &[Tip]) -> io::Result<Vec<((Hlc, EntryId), Vec<u8>)>> {
        let mut entries = Vec::new();
        for tip in tips {
            let mut from = 0;
            while from <= tip.seq {
                let piece = up_to(tip, from, self.entries(tip.author, from).await?);
                if piece.is_empty() {
                    break;
                }
                from += piece.len() as u64;
                entries.extend(piece.into_iter().filter_map(|bytes| {
                    let entry = Entry::trusted(&bytes).ok()?;
                    Some(((entry.header().hlc, entry.id()), bytes))
                }));
            }
        }
        Ok(entries)
    }

    fn still_count(&self, tips: &[Tip]) -> bool {
        let node = self.node.node();
        tips.iter().all(|tip| node.ledger().has(tip))
    }

    async fn entries(&self, author: PublicKey, from: u64) -> io::Result<Vec<Vec<u8>>> {
        let (answer, wait) = oneshot::channel::<Entries>();
        self.reads.send(Read { author, from, max_bytes: READ, answer }).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?.map_err(io::Error::other)
    }
}

/// Follows a task's stream wherever it runs.
struct Follower {
    me: PublicKey,
    node: Shared,
    handle: Handle,
    net: Net,
    blobs: Arc<Blobs>,
    runs: Arc<Runs>,
    task: TaskId,
    stream: Stream,
    at: u64,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// An attempt's output as it comes.
enum Source {
    Here(Tail),
    There(mpsc::Receiver<Result<Bytes, FollowError>>),
}

impl Source {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Here(tail) => tail.next().await,
            Self::There(pieces) => pieces.recv().await.transpose().map_err(io::Error::other),
        }
    }
}

/// What there is to be read of a task now.
enum Now {
    /// It ended with this output.
    Output(Blob),
    /// It ended without any.
    Nothing,
    /// It has not ended.
    Open,
}

impl Follower {
    async fn run(mut self) {
        if let Err(error) = self.all().await {
            let _nobody_reads = self.to.send(Err(error)).await;
        }
    }

    async fn all(&mut self) -> io::Result<()> {
        // First, so that no change is missed between looking and waiting.
        let mut happenings = self.handle.watch();
        let mut read_to_end = None;
        loop {
            match self.result().await? {
                Now::Output(blob) => return self.read_output(blob).await,
                Now::Nothing => return Ok(()),
                Now::Open => {}
            }
            let place = self.node.node().attempt_of(&self.task);
            let mut wait = LOOK_AGAIN;
            if let Some((attempt, device)) = place.filter(|(attempt, _)| Some(*attempt) != read_to_end) {
                match self.read_attempt(attempt, device, &mut happenings).await {
                    // Whoever reads has gone.
                    Ok(None) => return Ok(()),
                    Ok(Some(true)) => read_to_end = Some(attempt),
                    Ok(Some(false)) | Err(_) => wait = AGAIN,
                }
            }
            tokio::select! {
                () = self.to.closed() => return Ok(()),
                () = changed(&mut happenings, self.task) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn result(&self) -> io::Result<Now> {
        let answer = self.handle.ask(Command::Task { task: self.task.to_string() }).await;
        match answer {
            Ok(mesh_node::Answer::Task(view)) => Ok(match view.result {
                Some(result) => Now::Output(result.output),
                // A result comes with `done`.
                None if matches!(view.state.as_str(), "failed" | "cancelled") => Now::Nothing,
                None => Now::Open,
            }),
            Ok(_) => Err(io::Error::other("the node answered something else")),
            Err(error) => Err(io::Error::new(io::ErrorKind::NotFound, error.message)),
        }
    }

    /// Hands on what an attempt says until it says no more. False if it cannot be followed (yet); none if nobody reads.
    async fn read_attempt(
        &mut self,
        attempt: AttemptId,
        device: PublicKey,
        happenings: &mut broadcast::Receiver<mesh_node::Happening>,
    ) -> io::Result<Option<bool>> {
        let mut source = if device == self.me {
            let Some(live) = self.runs.get(attempt) else { return Ok(Some(false)) };
            Source::Here(live.follow(self.stream, self.at))
        } else {
            let what = provider::what(attempt, self.stream);
            let follow = self.net.follow(device, what, self.at);
            let mut follow = std::pin::pin!(follow);
            // Where much is followed, its turn may not come before it has ended.
            let followed = loop {
                tokio::select! {
                    followed = &mut follow => break followed,
                    () = self.to.closed() => return Ok(None),
                    () = changed(happenings, self.task) => {}
                }
                if !self.goes_on(attempt, device).await? {
                    return Ok(Some(false));
                }
            };
            match followed {
                Ok(pieces) => Source::There(pieces),
                Err(error) => {
                    tracing::debug!(task = %self.task.short(), %error, "a task's output cannot be followed now");
                    return Ok(Some(false));
                }
            }
        };
        loop {
            match hand_on(&mut source, &self.to, &mut self.at, happenings, self.task).await? {
                Some(Paused::Changed) if self.goes_on(attempt, device).await? => {}
                Some(Paused::Changed) => {
                    // Where no output tells it, what it said last says why it failed.
                    if matches!(self.result().await?, Now::Nothing) {
                        let rest = hand_on_the_rest(&mut source, &self.to, &mut self.at);
                        tokio::time::timeout(REST, rest).await.unwrap_or(Ok(()))?;
                    }
                    return Ok(Some(false));
                }
                Some(Paused::Ended) => return Ok(Some(true)),
                None => return Ok(None),
            }
        }
    }

    /// Is this still the attempt that counts, of a task that has not ended?
    async fn goes_on(&self, attempt: AttemptId, device: PublicKey) -> io::Result<bool> {
        let here = self.node.node().attempt_of(&self.task) == Some((attempt, device));
        Ok(here && matches!(self.result().await?, Now::Open))
    }

    /// Hands on what is left of a task that has ended.
    async fn read_output(&mut self, blob: Blob) -> io::Result<()> {
        let path = self.blobs.path(&blob.hash).ok_or(io::ErrorKind::NotFound)?;
        let (stream, at, to) = (self.stream.number(), self.at, self.to.clone());
        blocking(move || {
            let file = BufReader::new(File::open(path)?);
            match output::stream(file, stream, at, Pieces(to)) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                read => read.map(|_| ()),
            }
        })
        .await
    }
}

/// Why there is nothing to hand on for now.
#[derive(Debug, PartialEq, Eq)]
enum Paused {
    /// The attempt says no more.
    Ended,
    /// Something is said of its task. The attempt may not count any more, and where it ran may hold the stream open for as
    /// long as it likes.
    Changed,
}

/// Hands on what a source still has, as long as it comes without a pause.
async fn hand_on_the_rest(
    source: &mut Source,
    to: &mpsc::Sender<io::Result<Bytes>>,
    at: &mut u64,
) -> io::Result<()> {
    while let Ok(piece) = tokio::time::timeout(LOOK_AGAIN, source.next()).await {
        let Some(bytes) = piece? else { break };
        *at += bytes.len() as u64;
        if to.send(Ok(bytes)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Hands on what comes from a source; none if nobody reads.
async fn hand_on(
    source: &mut Source,
    to: &mpsc::Sender<io::Result<Bytes>>,
    at: &mut u64,
    happenings: &mut broadcast::Receiver<mesh_node::Happening>,
    task: TaskId,
) -> io::Result<Option<Paused>> {
    loop {
        let piece = tokio::select! {
            () = to.closed() => return Ok(None),
            () = changed(happenings, task) => return Ok(Some(Paused::Changed)),
            piece = source.next() => piece?,
        };
        let Some(bytes) = piece else { return Ok(Some(Paused::Ended)) };
        *at += bytes.len() as u64;
        if to.send(Ok(bytes)).await.is_err() {
            return Ok(None);
        }
    }
}

/// Waits until something is said of a task.
async fn changed(happenings: &mut broadcast::Receiver<mesh_node::Happening>, task: TaskId) {
    use broadcast::error::RecvError;
    use mesh_node::Happening;
    loop {
        match happenings.recv().await {
            Ok(Happening::Task { task: which, .. } | Happening::Attempt { task: which, .. })
                if which == task =>
            {
                return;
            }
            Ok(_) => {}
            // What was missed may have been it.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Hands on what is written to it.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DEL-5
    #[tokio::test]
    async fn a_stream_that_is_held_open_keeps_nobody_from_hearing_of_the_task() {
        let (task, other) = (TaskId([1; 32]), TaskId([2; 32]));
        let happens =
            |task| mesh_node::Happening::Task { task, state: "done".into(), why: String::new(), ended: true };
        let (say, mut happenings) = broadcast::channel(10);
        let (speak, pieces) = mpsc::channel(10);
        let (to, mut read) = mpsc::channel::<io::Result<Bytes>>(10);
        let mut source = Source::There(pieces);
        let mut at = 0;
        speak.send(Ok("said".into())).await.unwrap();
        let talk = async {
            assert_eq!(read.recv().await.unwrap().unwrap(), "said");
            say.send(happens(other)).unwrap();
            say.send(happens(task)).unwrap();
        };
        let handing = hand_on(&mut source, &to, &mut at, &mut happenings, task);
        let (handed, ()) = tokio::join!(tokio::time::timeout(LOOK_AGAIN * 10, handing), talk);
        assert_eq!(handed.expect("it hangs").unwrap(), Some(Paused::Changed));
        assert_eq!(at, 4);
        drop(speak);
        let handed = hand_on(&mut source, &to, &mut at, &mut happenings, task).await;
        assert_eq!(handed.unwrap(), Some(Paused::Ended));
        drop(read);
        let (_open, pieces) = mpsc::channel(1);
        source = Source::There(pieces);
        let handed = hand_on(&mut source, &to, &mut at, &mut happenings, task).await;
        assert_eq!(handed.unwrap(), None, "nobody reads");
    }

    // spec: LED-6
    #[test]
    fn all_entries_that_were_not_taken_are_counted() {
        let mut report = ImportReport::default();
        (0..MAX_REASONS + 3).for_each(|n| report.refuse(n.to_string()));
        assert_eq!((report.refused.len(), report.refused_more), (MAX_REASONS, 3));
    }

    // spec: LED-6
    #[test]
    fn an_export_ends_where_each_log_ended_when_it_was_asked_for() {
        let tip = Tip { author: PublicKey([1; 32]), seq: 4, id: EntryId([2; 32]) };
        let piece = || (0..3u8).map(|n| vec![n]).collect::<Vec<_>>();
        assert_eq!(up_to(&tip, 0, piece()), piece(), "more of it is still to come");
        assert_eq!(up_to(&tip, 2, piece()), piece());
        assert_eq!(up_to(&tip, 3, piece()), [[0], [1]]);
        assert_eq!(up_to(&tip, 4, piece()), [[0]]);
        assert!(up_to(&tip, 5, piece()).is_empty());
    }
}
