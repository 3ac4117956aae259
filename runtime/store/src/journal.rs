//! The journal: a plain file of what only this peer can know, one frame per commit.
//!
//! ```text
//! file    magic 8 | salt u64 | base u64 | crc32 of these u32 | frame*
//! frame   length u32 | crc32 u32 | number u64 | postcard [(key, value or none)]      integers little-endian
//! ```
//! The checksum of a frame covers salt, length, number and content. Commits are numbered from 1; `base` is the last
//! one that the file's first frames, which all carry that number, sum up.
//!
//! Since a frame is synced before the next is begun, a crash can spoil only the last one, which nobody was told of:
//! it is cut off. Anything else that is not whole was whole once, and is an error that a person should see.
// spec: LED-5, LED-8

use crate::change::{Write, is_own, weigh};
use crate::files::Files;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"meshjrn\x01";
/// Where a journal is written before it takes its place.
const BESIDE: &str = "journal.new";

const FILE_HEADER: usize = 28;
const FRAME_HEADER: usize = 16;

/// Most bytes in a frame's content: twice the largest commit, whose keys and lengths come on top of its records.
const MAX_FRAME: usize = 2 * crate::MAX_COMMIT;

/// What a disk hands out at least.
const BLOCK: u64 = 16 << 10;

/// Content of a frame when a journal is written anew: large enough to cost nothing, small enough to hold.
const FULL_FRAME: usize = 1 << 20;

/// Below this a journal is not worth rewriting: reading it takes a few hundredths of a second.
pub(crate) const COMPACT_ABOVE: u64 = 16 << 20;

/// How many times its live bytes a journal may take. At four, rewriting costs a third of a byte for each byte that
/// was written since, and the start reads at most four times what it needs.
const COMPACT_FACTOR: u64 = 4;

/// How much a journal grows before a failed compaction is tried again, so that a full disk does not make every
/// commit rewrite it in vain.
const COMPACT_AGAIN: u64 = 1 << 20;

pub(crate) struct Journal {
    path: PathBuf,
    files: Arc<dyn Files>,
    file: File,
    salt: u64,
    /// Bytes of whole frames. What lies behind is a failed append.
    len: u64,
    /// A failed append could not be taken back yet.
    spoiled: bool,
    /// After a loss of power another file might still have the name.
    unnamed: bool,
    /// The last commit.
    last: u64,
    /// Keys and values that count.
    live: u64,
    compact_above: u64,
    tried_at: u64,
}

/// The writes that count, each by where it stands.
pub(crate) type Index = BTreeMap<Vec<u8>, Place>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    frame: u64,
    nth: usize,
    len: usize,
    crc: u32,
}

impl Place {
    pub(crate) fn holds(&self, value: &[u8]) -> bool {
        self.len == value.len() && self.crc == crc32fast::hash(value)
    }
}

/// A journal as it was found.
pub(crate) struct Found {
    pub(crate) journal: Journal,
    pub(crate) index: Index,
    pub(crate) base: u64,
    /// Bytes cut off the end.
    pub(crate) torn: u64,
}

#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    Damaged { offset: u64, why: &'static str },
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Journal {
    pub(crate) fn path_in(folder: &Path) -> PathBuf {
        folder.join("journal")
    }

    /// Writes a journal anew, in place of any there is, with `base` as its last commit.
    pub(crate) fn create<E: From<io::Error>>(
        folder: &Path,
        files: Arc<dyn Files>,
        compact_above: u64,
        base: u64,
        fill: impl FnOnce(&mut Draft<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let beside = folder.join(BESIDE);
        let made = Self::write_anew(folder, &beside, files, compact_above, base, fill);
        if made.is_err() {
            // On a full disk the room is needed; the next attempt would overwrite it anyway.
            let _left = fs::remove_file(&beside);
        }
        made
    }

    fn write_anew<E: From<io::Error>>(
        folder: &Path,
        beside: &Path,
        files: Arc<dyn Files>,
        compact_above: u64,
        base: u64,
        fill: impl FnOnce(&mut Draft<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let path = Self::path_in(folder);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(beside)?;
        // Whoever can choose what stands in a value could else make a piece of it look like a frame.
        let salt = RandomState::new().hash_one(&path);
        let mut head = [MAGIC.as_slice(), &salt.to_le_bytes(), &base.to_le_bytes()].concat();
        head.extend(crc32fast::hash(&head).to_le_bytes());
        files.write(&file, &head, 0)?;
        let mut draft = Draft {
            files: &*files,
            file: &file,
            salt,
            base,
            len: FILE_HEADER as u64,
            live: 0,
            pending: Vec::new(),
            bytes: 0,
        };
        fill(&mut draft)?;
        draft.write()?;
        let (len, live) = (draft.len, draft.live);
        files.sync(beside, &file)?;
        fs::rename(beside, &path)?;
        // Nothing may fail from here on: this is the journal now, and what went to the one before it would be lost.
        let named = files.sync_folder(folder);
        if let Err(error) = &named {
            tracing::warn!(%error, "the new journal's name is not on the disk; nothing is kept until it is");
        }
        Ok(Self {
            path,
            files,
            file,
            salt,
            len,
            spoiled: false,
            unnamed: named.is_err(),
            last: base,
            live,
            compact_above,
            tried_at: 0,
        })
    }

    /// Reads a journal, and cuts off a torn end. None if there is no such file, or nothing in it.
    pub(crate) fn open(
        folder: &Path,
        files: Arc<dyn Files>,
        compact_above: u64,
    ) -> Result<Option<Found>, Unreadable> {
        let path = Self::path_in(folder);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let size = file.metadata()?.len();
        // A journal takes its place whole, so this is none: a file system that lost its content, or somebody's `touch`.
        if size == 0 {
            return Ok(None);
        }
        let (salt, base) = read_header(&file, size)?;
        let mut journal = Self {
            path,
            files,
            file,
            salt,
            len: size,
            spoiled: false,
            unnamed: false,
            last: base,
            live: 0,
            compact_above,
            tried_at: 0,
        };
        let mut index = Index::new();
        let (len, last) = journal.walk(base, |_, frame, writes| {
            for (nth, (key, value)) in writes.iter().enumerate() {
                match value {
                    Some(value) if is_own(key, value) => {
                        let place = Place { frame, nth, len: value.len(), crc: crc32fast::hash(value) };
                        index.insert(key.to_vec(), place);
                    }
                    _ => drop(index.remove(*key)),
                }
            }
            Ok::<_, Unreadable>(())
        })?;
        if len < size {
            journal.seek_whole_frame(len, last)?;
            // Not synced: should the torn end come back, it is cut off again.
            journal.file.set_len(len)?;
        }
        (journal.len, journal.last) = (len, last);
        journal.live = index.iter().map(|(key, place)| (key.len() + place.len) as u64).sum();
        Ok(Some(Found { journal, index, base, torn: size - len }))
    }

    /// Removes what a crash in the midst of [`Journal::create`] left.
    pub(crate) fn tidy(folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(BESIDE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds one commit, durably. After an error the file is as it was.
    // spec: LED-8
    pub(crate) fn append<'a>(
        &mut self,
        writes: impl Iterator<Item = Write<'a>>,
        own_live: i64,
    ) -> io::Result<u64> {
        self.settle()?;
        let writes: Vec<_> = writes.collect();
        let number = self.last + 1;
        let frame = frame(self.salt, number, &writes)?;
        self.spoiled = true;
        let written = self
            .files
            .write(&self.file, &frame, self.len)
            .and_then(|()| self.files.sync(&self.path, &self.file));
        if let Err(error) = written {
            if let Err(again) = self.take_back() {
                tracing::warn!(%again, "failed to take a failed write back out of the journal; nothing is kept until it works");
            }
            return Err(error);
        }
        self.spoiled = false;
        self.len += frame.len() as u64;
        self.last = number;
        self.live = self.live.saturating_add_signed(own_live);
        Ok(number)
    }

    /// Does what could not be done at its time, and without which nothing that follows would be durable.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.take_back()?;
        if self.unnamed {
            self.files.sync_folder(self.path.parent().unwrap_or(&self.path))?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Removes what a failed append left. Were it kept, a later start might take it for a commit.
    fn take_back(&mut self) -> io::Result<()> {
        if self.spoiled {
            self.file.set_len(self.len)?;
            self.files.sync(&self.path, &self.file)?;
            self.spoiled = false;
        }
        Ok(())
    }

    /// Has it grown so far beyond what counts that it should be written anew?
    pub(crate) fn is_bloated(&self) -> bool {
        self.len > self.compact_above.max(COMPACT_FACTOR.saturating_mul(self.live))
            && (self.tried_at == 0 || self.len > self.tried_at + COMPACT_AGAIN)
    }

    /// Writes it anew with only what counts. The database must have everything up to the last commit on disk, since
    /// deletions and peers' entries go.
    pub(crate) fn compact(&mut self, folder: &Path) -> Result<(), Unreadable> {
        self.tried_at = self.len;
        self.settle()?;
        let found = Self::open(folder, self.files.clone(), self.compact_above)?;
        let Some(found) = found.filter(|found| found.journal.last == self.last) else {
            return Err(Unreadable::Io(io::Error::other("it is not the file that was written")));
        };
        *self = Self::create(folder, self.files.clone(), self.compact_above, self.last, |draft| {
            let counts = |key: &[u8], frame, nth| {
                found.index.get(key).is_some_and(|place| (place.frame, place.nth) == (frame, nth))
            };
            let mut result = Ok(());
            found.journal.walk(found.base, |_, frame, writes| {
                for (nth, (key, value)) in writes.iter().enumerate() {
                    if let Some(value) = value.filter(|_| counts(key, frame, nth)) {
                        result = draft.push(key, value);
                        if result.is_err() {
                            break;
                        }
                    }
                }
                Ok::<_, Unreadable>(())
            })?;
            Ok::<_, Unreadable>(result?)
        })?;
        Ok(())
    }

    /// Calls `each` with number, offset and writes of every whole frame. Returns the offset behind the last one, and
    /// its number.
    pub(crate) fn walk<E: From<Unreadable>>(
        &self,
        base: u64,
        mut each: impl FnMut(u64, u64, &[Write<'_>]) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let io = |error| E::from(Unreadable::Io(error));
        let mut file = &self.file;
        file.seek(SeekFrom::Start(FILE_HEADER as u64)).map_err(io)?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let (mut offset, mut last) = (FILE_HEADER as u64, base);
        let mut content = Vec::new();
        while self.len - offset >= FRAME_HEADER as u64 {
            let mut head = [0; FRAME_HEADER];
            reader.read_exact(&mut head).map_err(io)?;
            let head = FrameHeader::from(head);
            if head.len > MAX_FRAME || head.len as u64 > self.len - offset - FRAME_HEADER as u64 {
                break;
            }
            content.resize(head.len, 0);
            reader.read_exact(&mut content).map_err(io)?;
            if !head.fits(self.salt, &content) {
                break;
            }
            let damaged = |why| Err(E::from(Unreadable::Damaged { offset, why }));
            if head.number != last + 1 && (head.number != base || last != base) {
                return damaged("a record is missing before it");
            }
            let Ok(writes) = postcard::from_bytes::<Vec<Write<'_>>>(&content) else {
                return damaged("its content has no meaning");
            };
            each(head.number, offset, &writes)?;
            offset += (FRAME_HEADER + head.len) as u64;
            last = head.number;
        }
        Ok((offset, last))
    }

    /// Fails if anything behind a frame that is not whole is whole: then it is no torn end.
    fn seek_whole_frame(&self, offset: u64, last: u64) -> Result<(), Unreadable> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset + 1))?;
        let mut rest = Vec::new();
        file.take(self.len - offset - 1).read_to_end(&mut rest)?;
        // There cannot be more frames than headers find room.
        let numbers = last..=last + 1 + (rest.len() / FRAME_HEADER) as u64;
        for at in 0..rest.len() {
            let Some((head, behind)) = rest[at..].split_first_chunk() else { break };
            let head = FrameHeader::from(*head);
            let content = behind.get(..head.len).filter(|_| numbers.contains(&head.number));
            if content.is_some_and(|content| head.fits(self.salt, content)) {
                return Err(Unreadable::Damaged { offset, why: "it does not fit its checksum" });
            }
        }
        Ok(())
    }
}

fn read_header(mut file: &File, size: u64) -> Result<(u64, u64), Unreadable> {
    let damaged = Unreadable::Damaged { offset: 0, why: "it does not begin like a journal" };
    if size < FILE_HEADER as u64 {
        return Err(damaged);
    }
    let mut head = [0; FILE_HEADER];
    file.read_exact(&mut head)?;
    let crc = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
    if head[..8] != *MAGIC || crc32fast::hash(&head[..24]) != crc {
        return Err(damaged);
    }
    Ok((number(&head[8..16]), number(&head[16..24])))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

struct FrameHeader {
    len: usize,
    crc: u32,
    number: u64,
}

impl From<[u8; FRAME_HEADER]> for FrameHeader {
    fn from(head: [u8; FRAME_HEADER]) -> Self {
        Self { len: number(&head[..4]) as usize, crc: number(&head[4..8]) as u32, number: number(&head[8..]) }
    }
}

impl FrameHeader {
    fn fits(&self, salt: u64, content: &[u8]) -> bool {
        self.crc == checksum(salt, self.number, content)
    }
}

fn checksum(salt: u64, number: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&(content.len() as u32).to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Bytes of the disk that a commit takes here, and a little more.
pub(crate) fn room_for<'a>(writes: impl Iterator<Item = Write<'a>>) -> u64 {
    /// Each length, and whether there is a value, written with up to so many bytes.
    const LENGTHS: usize = 2 * 10 + 1;
    let content =
        writes.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len) + LENGTHS).sum::<usize>();
    (FRAME_HEADER + LENGTHS + content) as u64 + BLOCK
}

fn frame(salt: u64, number: u64, writes: &[Write<'_>]) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(writes, vec![0; FRAME_HEADER]).map_err(io::Error::other)?;
    let len = frame.len() - FRAME_HEADER;
    if len > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a commit deletes more than one frame holds",
        ));
    }
    let crc = checksum(salt, number, &frame[FRAME_HEADER..]);
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    Ok(frame)
}

/// The first frames of a journal that is written anew.
pub(crate) struct Draft<'a> {
    files: &'a dyn Files,
    file: &'a File,
    salt: u64,
    base: u64,
    len: u64,
    live: u64,
    pending: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Draft<'_> {
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.pending.push((key.to_vec(), value.to_vec()));
        self.bytes += key.len() + value.len();
        self.live += weigh(key, value) as u64;
        if self.bytes >= FULL_FRAME { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let writes: Vec<_> =
            self.pending.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))).collect();
        let frame = frame(self.salt, self.base, &writes)?;
        self.files.write(self.file, &frame, self.len)?;
        self.len += frame.len() as u64;
        self.pending.clear();
        self.bytes = 0;
        Ok(())
    }
}
