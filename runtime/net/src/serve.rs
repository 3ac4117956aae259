//! Handing out a file with the hash pairs that prove it.

use crate::Bounds;
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
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Read and handed to QUIC at once. 512 KiB: half a stream's window, so that reading the next overlaps sending this.
const STEP: usize = 512 << 10;
/// Taken by the reader within [`Bounds::stall`], or it is given up. 128 KiB, 4 KiB a second: what a home's uplink gives to
/// each of 16.
const PART: usize = 128 << 10;
/// Hash pairs remembered: of 64 files and 32 MiB, that is, of 8 GB of files.
const REMEMBERED: (usize, usize) = (64, 32 << 20);

type Pairs = Arc<PreOrderMemOutboard>;

/// The hash pairs of files handed out lately, so that each file is hashed once and not per request.
#[derive(Default)]
pub(crate) struct Outboards(Mutex<VecDeque<Remembered>>);

struct Remembered {
    hash: [u8; 32],
    /// The file as it was: a change of either makes it another file.
    seen: (u64, Option<SystemTime>),
    pairs: Pairs,
}

impl Outboards {
    /// The pairs of this file, if it has this hash.
    fn of(&self, file: &File, hash: [u8; 32]) -> io::Result<Option<Pairs>> {
        let meta = file.metadata()?;
        let seen = (meta.len(), meta.modified().ok());
        let known = {
            let mut list = lock(&self.0);
            let found = list.iter().position(|known| known.hash == hash && known.seen == seen);
            // To the front: the one not asked for longest goes first.
            found.and_then(|i| list.remove(i)).map(|known| {
                let pairs = known.pairs.clone();
                list.push_front(known);
                pairs
            })
        };
        if known.is_some() {
            return Ok(known);
        }
        let tree = BaoTree::new(meta.len(), GROUP);
        let length = usize::try_from(tree.outboard_size()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let root = blake3::Hash::from_bytes(hash);
        let mut pairs = PreOrderMemOutboard { root, tree, data: vec![0; length] };
        if outboard(BufReader::with_capacity(STEP, file), tree, &mut pairs)? != root {
            tracing::warn!(%root, "a stored blob does not have its hash");
            return Ok(None);
        }
        let pairs = Arc::new(pairs);
        let mut list = lock(&self.0);
        list.push_front(Remembered { hash, seen, pairs: pairs.clone() });
        while list.len() > REMEMBERED.0
            || list.iter().map(|known| known.pairs.data.len()).sum::<usize>() > REMEMBERED.1 && list.len() > 1
        {
            list.pop_back();
        }
        Ok(Some(pairs))
    }
}

/// Who is served blobs now: some at once, and fewer of one owner.
// spec: NET-4
pub(crate) struct Places {
    per_owner: usize,
    all: Semaphore,
    owners: Mutex<BTreeMap<PublicKey, Arc<Semaphore>>>,
}

impl Places {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            per_owner: bounds.served_per_owner,
            all: Semaphore::new(bounds.served_at_once),
            owners: Mutex::default(),
        }
    }

    /// Waits until there is a place for one of this owner's.
    async fn take(&self, owner: PublicKey) -> Option<Place<'_>> {
        let new = || Arc::new(Semaphore::new(self.per_owner));
        let queue = lock(&self.owners).entry(owner).or_insert_with(new).clone();
        // From here on whoever gives up waiting lets go of it.
        let mut place = Place { places: self, owner, queue: Some(queue.clone()), mine: None, all: None };
        place.mine = Some(queue.acquire_owned().await.ok()?);
        place.all = Some(self.all.acquire().await.ok()?);
        Some(place)
    }
}

/// A place taken.
struct Place<'a> {
    places: &'a Places,
    owner: PublicKey,
    queue: Option<Arc<Semaphore>>,
    mine: Option<OwnedSemaphorePermit>,
    all: Option<SemaphorePermit<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        (self.all, self.mine, self.queue) = (None, None, None);
        let mut owners = lock(&self.places.owners);
        if owners.get(&self.owner).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            owners.remove(&self.owner);
        }
    }
}

/// Answers a blob request.
pub(crate) async fn blob(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    hash: [u8; 32],
    from_group: u64,
    send: &mut SendStream,
) {
    // spec: NET-4
    let (of, peer) = (shared.clone(), session.peer);
    let Ok(owner) = tokio::task::spawn_blocking(move || of.provider.owner(peer)).await else { return };
    // Whoever waits here keeps a place taken on its own side, too.
    let waits = shared.config.bounds.serve_wait;
    let Ok(Some(_place)) = tokio::time::timeout(waits, shared.places.take(owner)).await else {
        shared.counts.served_later.one();
        let _ = send.write_all(&[LATER]).await;
        let _ = send.finish();
        return;
    };
    let of = shared.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let path = of.provider.blob(peer, hash)?;
        Answer::open(&of.outboards, &path, hash, from_group).ok().flatten()
    });
    let Ok(Some(answer)) = opened.await else {
        shared.counts.not_served.one();
        let _ = send.write_all(&[NO]).await;
        let _ = send.finish();
        return;
    };
    let size = answer.pairs.tree.size().to_le_bytes();
    if send.write_all(&[&[YES], &size[..]].concat()).await.is_err() {
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

/// An answer under way.
struct Answer {
    file: File,
    pairs: Pairs,
    rest: ResponseIter,
}

impl Answer {
    fn open(outboards: &Outboards, path: &Path, hash: [u8; 32], from_group: u64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let Some(pairs) = outboards.of(&file, hash)? else { return Ok(None) };
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
