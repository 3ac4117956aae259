//! The file that `mesh ledger export` writes: all entries of a ledger in the order of clock and id, each as its length
//! (four bytes, little-endian) and its bytes; then a length of 0 and the BLAKE3 hash of everything before, so that a file
//! that was cut off between two entries is not taken for a shorter ledger.
// spec: LED-6

mod verify;

#[cfg(test)]
pub(crate) use verify::Uncounted;
pub(crate) use verify::{Carbon, Verified, verify};

use mesh_protocol::ledger::MAX_ENTRY;
use std::io::{self, Read};

/// What it begins with.
pub(crate) const MAGIC: &[u8] = b"taskmesh-ledger-1\n";
/// Bytes of the hash at the end.
const HASH: usize = blake3::OUT_LEN;

/// The file of these entries.
pub(crate) fn encode<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for entry in entries {
        file.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        file.extend_from_slice(entry);
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    let hash = blake3::hash(&file);
    file.extend_from_slice(hash.as_bytes());
    file
}

/// Where a file is wrong first, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first byte that cannot stand there: of an entry that does not hold, its first.
    pub(crate) at: u64,
    /// Which entry, counted from 0; none before the first and after the last.
    pub(crate) entry: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
}

/// Why a file could not be gone through.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It could not be read.
    Read(io::Error),
    /// It is wrong.
    Bad(Fault),
}

/// Hands out one entry's bytes after the other.
pub(crate) struct Entries<R> {
    from: R,
    /// Of all bytes read so far.
    hasher: blake3::Hasher,
    /// Bytes read so far.
    at: u64,
    /// Entries handed out so far.
    count: u64,
}

/// An entry's bytes, and where they stand.
pub(crate) struct Framed {
    /// Where its length stands.
    pub(crate) at: u64,
    /// Which it is, counted from 0.
    pub(crate) number: u64,
    /// What it is.
    pub(crate) bytes: Vec<u8>,
}

impl Framed {
    /// Says what is wrong with it.
    pub(crate) fn bad(&self, what: impl Into<String>) -> Trouble {
        Trouble::Bad(Fault { at: self.at, entry: Some(self.number), what: what.into() })
    }
}

impl<R: Read> Entries<R> {
    /// Reads the beginning.
    pub(crate) fn new(mut from: R) -> Result<Self, Trouble> {
        let mut magic = Vec::new();
        from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(Trouble::Read)?;
        if magic != MAGIC {
            let same = magic.iter().zip(MAGIC).take_while(|(a, b)| a == b).count();
            let what = "it does not begin as an exported ledger does".to_owned();
            return Err(Trouble::Bad(Fault { at: same as u64, entry: None, what }));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        Ok(Self { from, hasher, at: MAGIC.len() as u64, count: 0 })
    }

    /// The next one; none at the end, once all is found to be what was written.
    pub(crate) fn next(&mut self) -> Result<Option<Framed>, Trouble> {
        let mut framed = Framed { at: self.at, number: self.count, bytes: Vec::new() };
        let len = self.read(4)?;
        let Ok(len) = <[u8; 4]>::try_from(len) else { return Err(self.bad("the file is cut off")) };
        let size = u32::from_le_bytes(len) as usize;
        if size > MAX_ENTRY {
            return Err(framed.bad(format!("it says to have {size} bytes, at most {MAX_ENTRY} are allowed")));
        }
        self.took(&len);
        if size == 0 {
            return self.end().map(|()| None);
        }
        framed.bytes = self.read(size)?;
        if framed.bytes.len() != size {
            return Err(framed.bad("the file is cut off in it"));
        }
        self.took(&framed.bytes);
        self.count += 1;
        Ok(Some(framed))
    }

    /// So many bytes, or fewer at the end of the file.
    fn read(&mut self, len: usize) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        self.from.by_ref().take(len as u64).read_to_end(&mut bytes).map_err(Trouble::Read)?;
        Ok(bytes)
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
    }

    fn bad(&self, what: &str) -> Trouble {
        Trouble::Bad(Fault { at: self.at, entry: None, what: what.to_owned() })
    }

    fn end(&mut self) -> Result<(), Trouble> {
        let hash = self.hasher.finalize();
        let said = self.read(HASH)?;
        if said.len() < HASH {
            return Err(self.bad("the file is cut off"));
        }
        if said != hash.as_bytes() {
            return Err(self.bad("the hash at the end is not that of what stands before it"));
        }
        self.took(&said);
        match self.read(1)?.is_empty() {
            true => Ok(()),
            false => Err(self.bad("something follows the end")),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
pub(crate) mod tests;
