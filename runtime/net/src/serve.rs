//! Handing out a file with the hash pairs that prove it.

use crate::blob::{CHUNKS_PER_GROUP, GROUP};
use crate::net::{Shared, lock};
use crate::session::Session;
use crate::wire::{LATER, NO, YES};
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{Outboard as _, outboard};
use bao_tree::iter::{BaoChunk, ResponseIter};
use bao_tree::{BaoTree, ChunkNum, ChunkRanges};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use quinn::{SendStream, VarInt};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Read and handed to QUIC at once. 512 KiB: half a stream's window, so that reading the next overlaps sending this.
const STEP: usize = 512 << 10;
/// Taken by the reader within [`stall`](crate::Bounds::stall), or it is given up. 128 KiB, 4 KiB a second: what a home's uplink gives to
/// each of 16.
const PART: usize = 128 << 10;
/// Hash pairs remembered: of 64 files and 32 MiB, that is, of 8 GB of files.
const REMEMBERED: (usize, usize) = (64, 32 << 20);

/// What the system says of a disk that does not give back what it was given.
const EIO: i32 = 5;

type Pairs = Arc<PreOrderMemOutboard>;
/// A file as it was: a change of either makes it another file.
type Seen = (u64, Option<SystemTime>);
/// A file has its hash, or else what to answer.
type Learnt = Result<(), u8>;

/// The hash pairs of files handed out lately, so that each file is hashed once and not per request.
#[derive(Default)]
pub(crate) struct Outboards {
    known: Mutex<VecDeque<Remembered>>,
    /// Files being hashed, and what is said at the end.
    hashing: Mutex<HashMap<[u8; 32], watch::Receiver<Option<Learnt>>>>,
    #[cfg(test)]
    pub(crate) begun: std::sync::atomic::AtomicUsize,
}

struct Remembered {
    hash: [u8; 32],
    seen: Seen,
    pairs: Pairs,
}

impl Outboards {
    fn known(&self, hash: [u8; 32], seen: Seen) -> Option<Pairs> {
        let mut list = lock(&self.known);
        let found = list.iter().position(|known| known.hash == hash && known.seen == seen)?;
        // To the front: the one not asked for longest goes first.
        let known = list.remove(found)?;
        let pairs = known.pairs.clone();
        list.push_front(known);
        Some(pairs)
    }

    /// Hashes the file. True if it has this hash; its pairs are known then.
    fn learn(&self, file: &File, hash: [u8; 32], seen: Seen) -> io::Result<bool> {
        let tree = BaoTree::new(seen.0, GROUP);
        let length = usize::try_from(tree.outboard_size()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let root = blake3::Hash::from_bytes(hash);
        let mut pairs = PreOrderMemOutboard { root, tree, data: vec![0; length] };
        if outboard(BufReader::with_capacity(STEP, file), tree, &mut pairs)? != root {
            tracing::warn!(%root, "a stored blob does not have its hash");
            return Ok(false);
        }
        let mut list = lock(&self.known);
        list.push_front(Remembered { hash, seen, pairs: Arc::new(pairs) });
        while list.len() > REMEMBERED.0
            || list.iter().map(|known| known.pairs.data.len()).sum::<usize>() > REMEMBERED.1 && list.len() > 1
        {
            list.pop_back();
        }
        Ok(true)
    }
}

/// What is to be done about a file whose pairs are not known.
enum Hashing {
    /// They are known by now.
    Done,
    Begin(Job),
    Wait(watch::Receiver<Option<Learnt>>),
}

/// The hashing of a file, once for all who ask for it meanwhile.
struct Job {
    shared: Arc<Shared>,
    hash: [u8; 32],
    done: watch::Sender<Option<Learnt>>,
}

impl Job {
    fn of(shared: &Arc<Shared>, hash: [u8; 32], seen: Seen) -> Hashing {
        let mut hashing = lock(&shared.outboards.hashing);
        if let Some(done) = hashing.get(&hash) {
            return Hashing::Wait(done.clone());
        }
        // It may have ended since that was asked.
        if shared.outboards.known(hash, seen).is_some() {
            return Hashing::Done;
        }
        let (done, waits) = watch::channel(None);
        hashing.insert(hash, waits);
        Hashing::Begin(Self { shared: shared.clone(), hash, done })
    }

    fn run(self, file: &File, seen: Seen) -> Learnt {
        #[cfg(test)]
        self.shared.outboards.begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let learnt = match self.shared.outboards.learn(file, self.hash, seen) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NO),
            Err(error) => Err(unread(&error)),
        };
        self.done.send_replace(Some(learnt));
        learnt
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        lock(&self.shared.outboards.hashing).remove(&self.hash);
    }
}

/// Who is given something now: some at once, and fewer of one owner.
// spec: NET-4
#[derive(Debug)]
pub(crate) struct Places {
    per_owner: usize,
    all: Arc<Semaphore>,
    owners: Mutex<BTreeMap<PublicKey, Arc<Semaphore>>>,
}

impl Places {
    pub(crate) fn new(all: usize, per_owner: usize) -> Arc<Self> {
        Arc::new(Self { per_owner, all: Arc::new(Semaphore::new(all)), owners: Mutex::default() })
    }

    /// Waits until there is a place for one of this owner's.
    pub(crate) async fn take(self: &Arc<Self>, owner: PublicKey) -> Option<Place> {
        let new = || Arc::new(Semaphore::new(self.per_owner));
        let queue = lock(&self.owners).entry(owner).or_insert_with(new).clone();
        // From here on whoever gives up waiting lets go of it.
        let mut place =
            Place { places: self.clone(), owner, queue: Some(queue.clone()), mine: None, all: None };
        place.mine = Some(queue.acquire_owned().await.ok()?);
        place.all = Some(self.all.clone().acquire_owned().await.ok()?);
        Some(place)
    }
}

/// A place taken.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    owner: PublicKey,
    queue: Option<Arc<Semaphore>>,
    mine: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.all, self.mine, self.queue) = (None, None, None);
        let mut owners = lock(&self.places.owners);
        if owners.get(&self.owner).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            owners.remove(&self.owner);
        }
    }
}

/// What to answer where a file could not be read. It may be the next time, and if it is said not to be here, a task goes
/// without what it has; but what is gone, or on a broken part of the disk, comes no more.
// spec: DEL-5
pub(crate) fn unread(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound {
        return NO;
    }
    tracing::warn!(%error, "a blob could not be read");
    if error.raw_os_error() == Some(EIO) { NO } else { LATER }
}

/// Answers a blob request.
pub(crate) async fn blob(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    hash: [u8; 32],
    from_group: u64,
    send: &mut SendStream,
) {
    let (_place, answer) = match open(shared, session.peer, hash, from_group).await {
        Ok(opened) => opened,
        Err(no) => {
            let count = if no == LATER { &shared.counts.served_later } else { &shared.counts.not_served };
            count.one();
            let _ = send.write_all(&[no]).await;
            let _ = send.finish();
            return;
        }
    };
    let size = answer.pairs.tree.size().to_le_bytes();
    // A reader that leaves no room even for this would hold the place for good.
    // spec: NET-4
    let head = [&[YES], &size[..]].concat();
    let told = tokio::time::timeout(shared.config.bounds.stall, send.write_all(&head)).await;
    if !matches!(told, Ok(Ok(()))) {
        let _ = send.reset(VarInt::from_u32(0));
        return;
    }
    let mut reading = tokio::task::spawn_blocking(|| answer.step());
    loop {
        match reading.await {
            Ok(Ok((_, piece))) if piece.is_empty() => {
                let _ = send.finish();
                return;
            }
            Ok(Ok((answer, mut piece))) => {
                reading = tokio::task::spawn_blocking(|| answer.step());
                while !piece.is_empty() {
                    let part = piece.split_to(piece.len().min(PART));
                    // A reader that stands still, or nearly, holds two pieces and a place, for so long.
                    let sent = tokio::time::timeout(shared.config.bounds.stall, send.write_chunk(part)).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        let _ = send.reset(VarInt::from_u32(0));
                        return;
                    }
                }
            }
            // The file changed or broke under our hands.
            _ => break,
        }
    }
    let _ = send.reset(VarInt::from_u32(0));
}

/// Takes a place and opens the blob, hashing it first if need be. The error is what to answer.
// spec: NET-4
async fn open(
    shared: &Arc<Shared>,
    peer: PublicKey,
    hash: [u8; 32],
    from_group: u64,
) -> Result<(Place, Answer), u8> {
    let of = shared.clone();
    let owner = tokio::task::spawn_blocking(move || of.provider.owner(peer)).await.map_err(|_| LATER)?;
    // Whoever waits here keeps a place taken on its own side, too.
    let waits = shared.config.bounds.serve_wait;
    let taken = tokio::time::timeout(waits, shared.places.take(owner)).await;
    let mut place = taken.map_err(|_| LATER)?.ok_or(LATER)?;
    let until = tokio::time::Instant::now() + waits;
    loop {
        // A thread that works keeps the place, even if nobody waits for it any more.
        let of = shared.clone();
        let looking = tokio::task::spawn_blocking(move || (Found::look(&of, peer, hash, from_group), place));
        let (found, held) = looking.await.map_err(|_| LATER)?;
        place = held;
        let (file, seen) = match found.map_err(|error| unread(&error))?.ok_or(NO)? {
            Found::Ready(answer) => return Ok((place, answer)),
            Found::Unknown(file, seen) => (file, seen),
        };
        match Job::of(shared, hash, seen) {
            Hashing::Done => {}
            Hashing::Begin(job) => {
                let hashing = tokio::task::spawn_blocking(move || (job.run(&file, seen), place));
                let hashed = tokio::time::timeout_at(until, hashing).await.map_err(|_| LATER)?;
                let (learnt, held) = hashed.map_err(|_| LATER)?;
                learnt?;
                place = held;
            }
            Hashing::Wait(mut done) => {
                let hashed = tokio::time::timeout_at(until, done.wait_for(Option::is_some)).await;
                hashed.map_err(|_| LATER)?.map_err(|_| LATER)?.unwrap_or(Err(LATER))?;
            }
        }
    }
}

/// A blob that may be handed out.
enum Found {
    Ready(Answer),
    /// Its hash pairs are not known.
    Unknown(File, Seen),
}

impl Found {
    fn look(shared: &Shared, peer: PublicKey, hash: [u8; 32], from_group: u64) -> io::Result<Option<Self>> {
        let Some(path) = shared.provider.blob(peer, hash) else { return Ok(None) };
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let seen = (meta.len(), meta.modified().ok());
        match shared.outboards.known(hash, seen) {
            Some(pairs) => Ok(Answer::new(file, pairs, from_group)?.map(Self::Ready)),
            None => Ok(Some(Self::Unknown(file, seen))),
        }
    }
}

/// An answer under way.
struct Answer {
    file: File,
    pairs: Pairs,
    rest: ResponseIter,
}

impl Answer {
    fn new(file: File, pairs: Pairs, from_group: u64) -> io::Result<Option<Self>> {
        if from_group >= pairs.tree.blocks() {
            return Ok(None);
        }
        let from = ChunkNum(from_group * CHUNKS_PER_GROUP);
        // Groups come in order, each read where the one before it ended.
        (&file).seek(SeekFrom::Start(from.to_bytes()))?;
        let rest = ResponseIter::new(pairs.tree, ChunkRanges::from(from..));
        Ok(Some(Self { file, pairs, rest }))
    }

    /// The next piece; empty at the end.
    fn step(mut self) -> io::Result<(Self, Bytes)> {
        // Room for the last group and the pairs before it, so that the buffer never grows.
        let mut piece = Vec::with_capacity(STEP + GROUP.bytes() + 64 * 64);
        while piece.len() < STEP {
            match self.rest.next() {
                Some(BaoChunk::Parent { node, .. }) => {
                    let (left, right) = self.pairs.load(node)?.ok_or(io::ErrorKind::InvalidData)?;
                    piece.extend_from_slice(left.as_bytes());
                    piece.extend_from_slice(right.as_bytes());
                }
                // Not hashed again: the other side does, and finds it if the file changed since.
                Some(BaoChunk::Leaf { size, .. }) => {
                    if (&self.file).take(size as u64).read_to_end(&mut piece)? != size {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                None => break,
            }
        }
        Ok((self, piece.into()))
    }
}
