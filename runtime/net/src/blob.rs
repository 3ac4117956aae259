//! Fetching a file by its BLAKE3 hash, verified as it comes, resumed where it stopped.
//!
//! Request: hash and the first 16 KiB group wanted. Answer: no, or later (others are served first, it is being hashed or could not be read), or yes, the size, and the bao encoding of the file
//! from there to its end. What has been verified goes to `<into>.part`; the hash pairs that prove it go to
//! `<into>.obao` (the size, then the pairs in pre-order), which is all that a later fetch needs to tell which part
//! of the first is good.

use crate::net::{Shared, lock};
use crate::wire::{Head, LATER, YES};
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{DecodeResponseIter, OutboardMut as _, valid_ranges};
use bao_tree::io::{BaoContentItem, DecodeError, Leaf, Parent};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use bytes::{Buf as _, Bytes, BytesMut};
use mesh_protocol::key::PublicKey;
use quinn::{RecvStream, VarInt};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

/// 16 KiB: the proof is 0.4 % of the data, and a lie is found after 16 KiB.
pub(crate) const GROUP: BlockSize = BlockSize::from_chunk_log(4);
pub(crate) const CHUNKS_PER_GROUP: u64 = 16;
/// Verified bytes gathered before they are written. 1 MiB: a module in a handful of writes, and no more than that
/// is fetched twice after a crash.
const GATHER: usize = 1 << 20;
/// What came is handed to the hashing thread in heaps of 128 KiB, since waking it for each packet would cost more than
/// hashing does. 8 heaps wait at most, a stream's window.
const HEAP: usize = 128 << 10;
const HEAPS: usize = 8;
/// Packets taken from QUIC at once.
const PACKETS: usize = 64;

/// Why a blob did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no session with that peer.
    #[error("fetch: the peer is not connected")]
    NotConnected,
    /// The peer does not have it, or not for us. The wire does not say which.
    #[error("fetch: the peer does not hand this out")]
    NotThere,
    /// Nothing was written.
    #[error("fetch: it has {size} bytes and at most {max} are wanted")]
    TooLarge {
        /// What the peer says.
        size: u64,
        /// What the caller wanted at most.
        max: u64,
    },
    /// What came does not belong to the hash, or to the size that was said. What came before it is kept.
    #[error("fetch: the peer sent bytes that do not belong to the hash")]
    Lie,
    /// The connection broke or stood still. What came is kept for the next fetch.
    #[error("fetch: the transfer stopped before its end")]
    Interrupted,
    /// The peer sends less than any line can. What came is kept for the next fetch.
    #[error("fetch: the peer sends too slowly")]
    Slow,
    /// The peer serves others first, is hashing it, or could not read it just then. Nothing was written.
    #[error("fetch: the peer serves others first, hashes it, or cannot read it just now")]
    Later,
    /// Another fetch is writing this file.
    #[error("fetch: the file is being fetched already")]
    Busy,
    /// The disk refused.
    #[error("fetch: write the file")]
    Disk(#[source] io::Error),
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Marks a file as being fetched. Every thread that touches the file holds it: a fetch that is dropped leaves its
/// thread to finish what it has, and until then no other fetch may begin.
struct Mark(Arc<Shared>, PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.0.fetching).remove(&self.1);
    }
}

pub(crate) async fn fetch(
    shared: &Arc<Shared>,
    peer: PublicKey,
    hash: [u8; 32],
    max: u64,
    into: &Path,
) -> Result<u64, FetchError> {
    if !lock(&shared.fetching).insert(into.to_owned()) {
        return Err(FetchError::Busy);
    }
    let mark = Arc::new(Mark(shared.clone(), into.to_owned()));
    let partial = blocking(&mark, move |path| Partial::open(path, hash, max)).await?;
    if let Some(partial) = partial.as_ref().filter(|partial| partial.is_complete()) {
        let size = partial.size();
        blocking(&mark, put_in_place).await?;
        return Ok(size);
    }
    let conn = shared.active(peer).ok_or(FetchError::NotConnected)?;
    let stall = shared.config.bounds.stall;
    let from_group = partial.as_ref().map_or(0, |partial| partial.groups);
    let asked = tokio::time::timeout(stall, ask(&conn.quic, hash, from_group)).await;
    let (size, mut stream) = asked.map_err(|_| FetchError::Interrupted)??;
    if size > max {
        let _ = stream.stop(VarInt::from_u32(0));
        return Err(FetchError::TooLarge { size, max });
    }
    let partial = match partial {
        Some(partial) if partial.size() == size => partial,
        Some(_) => {
            // One of two peers lied about the size, and only a transfer from the start can tell which.
            blocking(&mark, Partial::discard).await?;
            return Err(FetchError::Lie);
        }
        None => blocking(&mark, move |path| Partial::create(path, hash, size)).await?,
    };
    let (heaps, received) = mpsc::channel(HEAPS);
    // A thread of its own for hashing and writing, fed through a bounded queue. If this future is dropped, so is
    // the queue's other end, and the thread keeps what it has and stops.
    let decoder = tokio::task::spawn_blocking(move || partial.decode(received, &mark.1));
    let pumped = pump(&mut stream, heaps, stall, shared.config.bounds.slowest).await;
    let decoded = decoder.await.map_err(|_| FetchError::Disk(io::ErrorKind::Other.into()))?;
    match decoded {
        Err(FetchError::Interrupted) if pumped == Pumped::Slow => Err(FetchError::Slow),
        Err(FetchError::Lie) if pumped == Pumped::Whole => {
            shared.counts.lying_blobs.one();
            Err(FetchError::Lie)
        }
        decoded => decoded.map(|()| size),
    }
}

/// Bytes of a file fetched to this place that are good, more or less: the hash pairs say so, of which each group has one.
pub(crate) fn progress(into: &Path) -> u64 {
    let pairs = fs::metadata(beside(into, ".obao")).map_or(0, |meta| meta.len()) / 64;
    pairs * GROUP.bytes() as u64
}

async fn blocking<T: Send + 'static>(
    mark: &Arc<Mark>,
    work: impl FnOnce(&Path) -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let mark = mark.clone();
    let done = tokio::task::spawn_blocking(move || work(&mark.1)).await;
    done.map_err(|_| FetchError::Disk(io::ErrorKind::Other.into()))?
}

async fn ask(
    quic: &quinn::Connection,
    hash: [u8; 32],
    from_group: u64,
) -> Result<(u64, RecvStream), FetchError> {
    let lost = |_| FetchError::Interrupted;
    let (mut send, mut recv) = quic.open_bi().await.map_err(|_| FetchError::Interrupted)?;
    send.write_all(&Head::Blob { hash, from_group }.encode()).await.map_err(|_| FetchError::Interrupted)?;
    let _ = send.finish();
    match recv.read_u8().await.map_err(lost)? {
        YES => {}
        LATER => return Err(FetchError::Later),
        _ => return Err(FetchError::NotThere),
    }
    let size = recv.read_u64_le().await.map_err(lost)?;
    Ok((size, recv))
}

/// How the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    /// At its end, or where the decoder wanted no more of it.
    Whole,
    /// It broke or stood still.
    Broken,
    /// Next to nothing came.
    Slow,
}

/// Moves what comes to the decoder.
// spec: NET-4, DEL-5
async fn pump(
    stream: &mut RecvStream,
    heaps: mpsc::Sender<Vec<Bytes>>,
    stall: Duration,
    slowest: u64,
) -> Pumped {
    let mut packets = vec![Bytes::new(); PACKETS];
    let (mut heap, mut size) = (Vec::new(), 0);
    // What came while the peer was waited for, and for how long that was: the own disk may be slow, too.
    let (mut came, mut waited) = (0, Duration::ZERO);
    loop {
        let since = Instant::now();
        let read = tokio::select! {
            read = tokio::time::timeout(stall, stream.read_chunks(&mut packets)) => read,
            // The decoder has what it wants, or wants no more of it.
            () = heaps.closed() => {
                let _ = stream.stop(VarInt::from_u32(0));
                return Pumped::Whole;
            }
        };
        waited += since.elapsed();
        let mut slow = false;
        if let Ok(Ok(Some(n))) = read {
            for packet in packets.iter_mut().take(n) {
                size += packet.len();
                came += packet.len() as u64;
                heap.push(std::mem::take(packet));
            }
            if waited >= stall {
                slow = came < slowest;
                (came, waited) = (0, Duration::ZERO);
            }
            if size < HEAP && !slow {
                continue;
            }
        }
        size = 0;
        if heaps.send(std::mem::take(&mut heap)).await.is_err() {
            let _ = stream.stop(VarInt::from_u32(0));
            return Pumped::Whole;
        }
        match read {
            Ok(Ok(Some(_))) if slow => {
                let _ = stream.stop(VarInt::from_u32(0));
                return Pumped::Slow;
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Pumped::Whole,
            Ok(Err(_)) | Err(_) => return Pumped::Broken,
        }
    }
}

/// A file that is partly there.
struct Partial {
    file: File,
    obao: File,
    outboard: PreOrderMemOutboard,
    /// How many groups from the start are good.
    groups: u64,
}

fn beside(into: &Path, ending: &str) -> PathBuf {
    let mut name = into.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl Partial {
    fn size(&self) -> u64 {
        self.outboard.tree.size()
    }

    fn is_complete(&self) -> bool {
        self.groups >= self.outboard.tree.blocks()
    }

    /// What an earlier fetch left, as far as it is good.
    fn open(into: &Path, hash: [u8; 32], max: u64) -> Result<Option<Self>, FetchError> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let (Ok(file), Ok(mut obao)) = (open(&beside(into, ".part")), open(&beside(into, ".obao"))) else {
            return Ok(None);
        };
        let mut size = [0; 8];
        let size = match obao.read_exact(&mut size) {
            Ok(()) => u64::from_le_bytes(size),
            Err(_) => return Ok(None),
        };
        if size > max {
            return Ok(None);
        }
        let mut outboard = empty_outboard(hash, size)?;
        let mut read = 0;
        // As many pairs as there are; those that are missing stay zero and prove nothing.
        while let Some(rest) = outboard.data.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match obao.read(rest)? {
                0 => break,
                n => read += n,
            }
        }
        file.set_len(size)?;
        let mut good = ChunkNum(0);
        for range in valid_ranges(&outboard, &file, &ChunkRanges::all()) {
            match range {
                Ok(range) if range.start <= good => good = good.max(range.end),
                _ => break,
            }
        }
        let groups =
            if good >= outboard.tree.chunks() { outboard.tree.blocks() } else { good.0 / CHUNKS_PER_GROUP };
        Ok(Some(Self { file, obao, outboard, groups }))
    }

    fn create(into: &Path, hash: [u8; 32], size: u64) -> Result<Self, FetchError> {
        let create =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let (file, obao) = (create(&beside(into, ".part"))?, create(&beside(into, ".obao"))?);
        obao.write_all_at(&size.to_le_bytes(), 0)?;
        Ok(Self { file, obao, outboard: empty_outboard(hash, size)?, groups: 0 })
    }

    fn discard(into: &Path) -> Result<(), FetchError> {
        // Either may be missing, which is as good.
        let _ = fs::remove_file(beside(into, ".part"));
        let _ = fs::remove_file(beside(into, ".obao"));
        Ok(())
    }

    /// Verifies what comes and writes it; at the end the file is in its place.
    fn decode(mut self, received: mpsc::Receiver<Vec<Bytes>>, into: &Path) -> Result<(), FetchError> {
        let ranges = ChunkRanges::from(ChunkNum(self.groups * CHUNKS_PER_GROUP)..);
        let source = Heaps { received, heap: Vec::new().into_iter(), packet: Bytes::new() };
        let (root, tree) = (self.outboard.root, self.outboard.tree);
        // Groups come in order, and are written in order.
        let at = self.groups * GROUP.bytes() as u64;
        self.file.seek(SeekFrom::Start(at))?;
        let mut gathered = Gathered { groups: Vec::new(), bytes: 0, at, done: 0 };
        let mut outcome = Ok(());
        for item in DecodeResponseIter::new_with_buffer(root, tree, source, &ranges, BytesMut::new()) {
            match item {
                Ok(BaoContentItem::Parent(Parent { node, pair })) => self.outboard.save(node, &pair)?,
                Ok(BaoContentItem::Leaf(Leaf { data, .. })) => {
                    gathered.bytes += data.len();
                    // An empty file is one group of nothing, which cannot be written.
                    gathered.groups.extend(Some(data).filter(|data| !data.is_empty()));
                    if gathered.bytes >= GATHER {
                        gathered.write(&self)?;
                    }
                }
                Err(DecodeError::ParentHashMismatch(_) | DecodeError::LeafHashMismatch(_)) => {
                    outcome = Err(FetchError::Lie);
                    break;
                }
                Err(_) => {
                    outcome = Err(FetchError::Interrupted);
                    break;
                }
            }
        }
        gathered.write(&self)?;
        outcome?;
        put_in_place(into)
    }
}

/// Verified bytes on their way to the disk.
struct Gathered {
    groups: Vec<Bytes>,
    bytes: usize,
    at: u64,
    /// How far the hash pairs are written.
    done: usize,
}

impl Gathered {
    fn write(&mut self, partial: &Partial) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = self.groups.iter().map(|group| IoSlice::new(group)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match (&partial.file).write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.groups.clear();
        self.at += std::mem::take(&mut self.bytes) as u64;
        let proven = self.at;
        // In pre-order the pairs for what is proven come before the others; a few more do no harm.
        let groups = usize::try_from(proven.div_ceil(GROUP.bytes() as u64)).unwrap_or(usize::MAX);
        let ahead = 64; // levels of the tree at most, one pair each
        let end = partial.outboard.data.len().min((groups.saturating_add(ahead)).saturating_mul(64));
        if let Some(pairs) = partial.outboard.data.get(self.done..end) {
            partial.obao.write_all_at(pairs, 8 + self.done as u64)?;
            // The last pairs of this piece may have been zero still.
            self.done = end.saturating_sub(2 * ahead * 64);
        }
        Ok(())
    }
}

fn empty_outboard(hash: [u8; 32], size: u64) -> io::Result<PreOrderMemOutboard> {
    let tree = BaoTree::new(size, GROUP);
    let length = usize::try_from(tree.outboard_size()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(PreOrderMemOutboard { root: blake3::Hash::from_bytes(hash), tree, data: vec![0; length] })
}

/// Complete and verified: now it has its name. Whether it must outlive a power cut is the caller's to know.
fn put_in_place(into: &Path) -> Result<(), FetchError> {
    fs::rename(beside(into, ".part"), into)?;
    let _ = fs::remove_file(beside(into, ".obao"));
    Ok(())
}

/// The stream, as something to read on a thread.
struct Heaps {
    received: mpsc::Receiver<Vec<Bytes>>,
    heap: std::vec::IntoIter<Bytes>,
    packet: Bytes,
}

impl Read for Heaps {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.packet.is_empty() {
            if let Some(packet) = self.heap.next() {
                self.packet = packet;
            } else if let Some(heap) = self.received.blocking_recv() {
                self.heap = heap.into_iter();
            } else {
                return Ok(0);
            }
        }
        let n = into.len().min(self.packet.len());
        self.packet.copy_to_slice(&mut into[..n]);
        Ok(n)
    }
}
