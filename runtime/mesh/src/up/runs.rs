//! The attempts that run here: how each is told to hold or end, and what it has written so far, for whoever follows it.
// spec: DEL-5

use super::trash::Trash;
use bytes::Bytes;
use mesh_executor::Control;
use mesh_net::{Follow, NextPiece};
use mesh_protocol::frame::AttemptId;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Most bytes of output read at a time for a follower.
const PIECE: u64 = 64 * 1024;
/// Most attempts known at a time, those included that have ended and whose output nobody has fetched yet. Each is a
/// folder with two files; the oldest that has ended makes room, and its output is in its blob.
const MAX_RUNS: usize = 4096;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// By its number in a request to follow.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr].get(usize::from(number)).copied()
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn name(self) -> &'static str {
        ["stdout", "stderr"][self as usize]
    }
}

/// How much an attempt has written, and whether that is all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Grown {
    bytes: [u64; 2],
    ended: bool,
}

/// What is wanted of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That it goes on.
    #[default]
    Run,
    /// That it is held.
    Hold,
    /// That it ends, and that nothing more is said of it.
    Stop,
}

/// The files that an attempt's output goes to, each made when there is something to put into it: many tasks write to
/// one stream or to none, and file systems pay for files that come and go long after they went.
#[derive(Debug, Default)]
pub(crate) struct Files([Option<File>; 2]);

/// An attempt.
pub(crate) struct Live {
    pub(crate) folder: PathBuf,
    grown: watch::Sender<Grown>,
    wish: watch::Sender<Wish>,
    control: Mutex<Option<Control>>,
    applied: Mutex<Wish>,
    /// Held by whoever applies a wish and tells of it.
    pub(crate) telling: Mutex<()>,
}

impl Live {
    fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            grown: watch::Sender::default(),
            wish: watch::Sender::default(),
            control: Mutex::default(),
            applied: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    fn file(&self, stream: Stream) -> PathBuf {
        self.folder.join(stream.name())
    }

    /// The file of what it has written to a stream, if it has written anything.
    pub(crate) fn written(&self, stream: Stream) -> Option<PathBuf> {
        (self.grown.borrow().bytes[stream as usize] > 0).then(|| self.file(stream))
    }

    /// Adds output, and wakes its followers.
    pub(crate) fn write(&self, files: &mut Files, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = &mut files.0[stream as usize];
        let file = match file {
            Some(file) => file,
            None => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                let path = self.file(stream);
                let new = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
                file.insert(new)
            }
        };
        file.write_all(bytes)?;
        self.grown.send_modify(|grown| grown.bytes[stream as usize] += bytes.len() as u64);
        Ok(())
    }

    /// There will be no more output.
    pub(crate) fn ended(&self) {
        self.grown.send_modify(|grown| grown.ended = true);
    }

    fn has_ended(&self) -> bool {
        self.grown.borrow().ended
    }

    /// What is wanted of it, and every change of that.
    pub(crate) fn wish(&self) -> watch::Receiver<Wish> {
        self.wish.subscribe()
    }

    /// Wants something else of it. What was told to stop is not told anything else.
    pub(crate) fn want(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let change = *now != Wish::Stop && *now != wish;
            if change {
                *now = wish;
            }
            change
        });
    }

    /// Does it draw power: has it neither ended nor been held?
    // spec: SLA-4
    fn computes(&self) -> bool {
        let applied = *self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        *self.wish.borrow() == Wish::Run && applied == Wish::Run && !self.has_ended()
    }

    pub(crate) fn stopped(&self) -> bool {
        *self.wish.borrow() == Wish::Stop
    }

    /// It can be told things from now on.
    pub(crate) fn controlled_by(&self, control: Control) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(control);
    }

    /// Brings about what is wanted of it. Says what changed, if anything did. May wait for a moment.
    pub(crate) fn apply(&self) -> Option<Wish> {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let wish = *self.wish.borrow();
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        if *applied == wish {
            return None;
        }
        match wish {
            Wish::Run => control.resume(),
            Wish::Hold => control.pause(),
            Wish::Stop => control.cancel(),
        }
        *applied = wish;
        Some(wish)
    }

    /// Follows a stream from an offset on.
    pub(crate) fn follow(self: &Arc<Self>, stream: Stream, from: u64) -> Tail {
        Tail { live: self.clone(), grown: self.grown.subscribe(), stream, at: from, file: None }
    }
}

/// All of them.
pub(crate) struct Runs {
    folder: PathBuf,
    live: Mutex<BTreeMap<AttemptId, Arc<Live>>>,
    trash: Trash,
}

impl Runs {
    /// What earlier runs of this program left is cleared away: nothing of it goes on.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let place = folder.join("trash");
        let trash = Trash::open(place.clone())?;
        for left in fs::read_dir(folder)? {
            let left = left?.path();
            if left != place {
                trash.throw(&left)?;
            }
        }
        Ok(Self { folder: folder.to_owned(), live: Mutex::default(), trash })
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new attempt; none if there is no room for it, or it is there already.
    pub(crate) fn begin(&self, attempt: AttemptId) -> Option<Arc<Live>> {
        let mut runs = self.live();
        if runs.contains_key(&attempt) {
            return None;
        }
        if runs.len() >= MAX_RUNS {
            let old = runs.iter().find(|(_, live)| live.has_ended()).map(|(attempt, _)| *attempt)?;
            let old = runs.remove(&old)?;
            self.clear(&old.folder);
        }
        let live = Arc::new(Live::new(self.folder.join(format!("{}-{}", attempt.task, attempt.attempt))));
        runs.insert(attempt, live.clone());
        Some(live)
    }

    pub(crate) fn get(&self, attempt: AttemptId) -> Option<Arc<Live>> {
        self.live().get(&attempt).cloned()
    }

    /// An attempt's logs can go. Whoever follows them at this moment reads on: the files are open.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        let live = self.live().remove(&attempt);
        if let Some(live) = live {
            live.want(Wish::Stop);
            // A run that has not noticed yet clears up itself.
            if live.has_ended() {
                self.clear(&live.folder);
            }
        }
    }

    /// Takes an attempt's folder away. It may hold gigabytes, and is deleted by somebody else.
    // spec: ARC-5
    pub(crate) fn clear(&self, folder: &Path) {
        cleared(folder, self.trash.throw(folder));
    }

    /// Is it known no more?
    pub(crate) fn is_forgotten(&self, attempt: AttemptId) -> bool {
        !self.live().contains_key(&attempt)
    }

    /// Is there one that draws power now?
    // spec: SLA-4
    pub(crate) fn any_computes(&self) -> bool {
        // One that is being held is waited for, and the others are not to wait with it.
        self.all().iter().any(|live| live.computes())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.live().values().cloned().collect()
    }
}

/// Takes a folder away with what is in it.
pub(crate) fn clear(folder: &Path) {
    cleared(folder, fs::remove_dir_all(folder));
}

fn cleared(folder: &Path, done: io::Result<()>) {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "an attempt's folder could not be taken away");
        }
        _ => {}
    }
}

/// Reads a stream while it grows.
pub(crate) struct Tail {
    live: Arc<Live>,
    grown: watch::Receiver<Grown>,
    stream: Stream,
    at: u64,
    file: Option<Arc<File>>,
}

impl Tail {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let grown = *self.grown.borrow_and_update();
            let there = grown.bytes[self.stream as usize];
            if self.at < there {
                let (at, len) = (self.at, (there - self.at).min(PIECE));
                let (file, path) = (self.file.clone(), self.live.file(self.stream));
                // A disk may take its time, which the network's threads have not.
                // spec: ARC-5
                let read = tokio::task::spawn_blocking(move || {
                    let file = match file {
                        Some(file) => file,
                        None => Arc::new(File::open(path)?),
                    };
                    let mut bytes = vec![0; len as usize];
                    file.read_exact_at(&mut bytes, at)?;
                    io::Result::Ok((file, bytes))
                });
                let (file, bytes) = read.await.map_err(io::Error::other)??;
                self.file = Some(file);
                self.at += bytes.len() as u64;
                return Ok(Some(bytes.into()));
            }
            if grown.ended || self.grown.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl Follow for Tail {
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(self.piece())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ids::TaskId;

    const ATTEMPT: AttemptId = AttemptId { task: TaskId([1; 32]), attempt: 1 };

    // spec: DEL-5
    #[tokio::test]
    async fn a_follower_sees_what_comes_and_then_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path()).unwrap();
        let live = runs.begin(ATTEMPT).unwrap();
        assert!(runs.begin(ATTEMPT).is_none(), "it runs once");
        let mut files = Files::default();
        assert_eq!(live.written(Stream::Stdout), None);
        live.write(&mut files, Stream::Stdout, b"one").unwrap();
        let (mut all, mut late) = (live.follow(Stream::Stdout, 0), live.follow(Stream::Stdout, 2));
        assert_eq!(all.next().await.unwrap().unwrap(), "one");
        assert_eq!(late.next().await.unwrap().unwrap(), "e");
        let waiting = tokio::spawn(async move { (all.next().await, all.next().await) });
        tokio::task::yield_now().await;
        live.write(&mut files, Stream::Stderr, b"not this").unwrap();
        live.write(&mut files, Stream::Stdout, b"two").unwrap();
        live.ended();
        assert_eq!(fs::read(live.written(Stream::Stdout).unwrap()).unwrap(), b"onetwo");
        let (two, end) = waiting.await.unwrap();
        assert_eq!(two.unwrap().unwrap(), "two");
        assert!(end.unwrap().is_none());
        runs.forget(ATTEMPT);
        assert!(!live.folder.exists());
        assert_eq!(late.next().await.unwrap().unwrap(), "two", "whoever has it open reads on");
    }

    #[test]
    fn what_was_told_to_stop_is_told_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path()).unwrap();
        let live = runs.begin(ATTEMPT).unwrap();
        live.want(Wish::Hold);
        live.want(Wish::Stop);
        live.want(Wish::Run);
        assert!(live.stopped());
        assert_eq!(live.apply(), None, "nothing runs yet that could be told");
    }

    // spec: SLA-4
    #[test]
    fn what_is_held_or_over_draws_no_power() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path()).unwrap();
        assert!(!runs.any_computes());
        let live = runs.begin(ATTEMPT).unwrap();
        assert!(runs.any_computes());
        live.want(Wish::Hold);
        assert!(!runs.any_computes());
        live.want(Wish::Run);
        *live.applied.lock().unwrap() = Wish::Hold;
        assert!(!runs.any_computes(), "it has not gone on yet");
        *live.applied.lock().unwrap() = Wish::Run;
        assert!(runs.any_computes());
        live.ended();
        assert!(!runs.any_computes(), "what it wrote is there to be fetched, and no more");
    }

    #[test]
    fn what_an_earlier_run_left_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let left = || {
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name != "trash").count()
        };
        let live = Runs::open(dir.path()).unwrap().begin(ATTEMPT).unwrap();
        live.write(&mut Files::default(), Stream::Stdout, b"").unwrap();
        assert_eq!(left(), 0, "nothing is made for nothing");
        live.write(&mut Files::default(), Stream::Stdout, b"one").unwrap();
        assert_eq!(left(), 1);
        Runs::open(dir.path()).unwrap();
        assert_eq!(left(), 0);
    }
}
