//! The file that `mesh ledger export` writes: all entries of a ledger in the order of clock and id, each as its length
//! (four bytes, little-endian) and its bytes.
// spec: LED-6

mod verify;

pub(crate) use verify::{Verified, verify};

use mesh_protocol::ledger::MAX_ENTRY;
use std::io::{self, Read};

/// What it begins with.
pub(crate) const MAGIC: &[u8] = b"taskmesh-ledger-1\n";

/// Where a file is wrong first, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first byte that cannot stand there: of an entry that does not hold, its first.
    pub(crate) at: u64,
    /// Which entry, counted from 0; none before the first.
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
        Ok(Self { from, at: MAGIC.len() as u64, count: 0 })
    }

    /// The next one; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Framed>, Trouble> {
        let (at, number) = (self.at, self.count);
        let mut framed = Framed { at, number, bytes: Vec::new() };
        let cut_off = |framed: &Framed| framed.bad("the file is cut off in it");
        let mut len = Vec::new();
        self.from.by_ref().take(4).read_to_end(&mut len).map_err(Trouble::Read)?;
        if len.is_empty() {
            return Ok(None);
        }
        let Ok(len) = <[u8; 4]>::try_from(len) else { return Err(cut_off(&framed)) };
        let len = u64::from(u32::from_le_bytes(len));
        if len > MAX_ENTRY as u64 {
            return Err(framed.bad(format!("it says to have {len} bytes, at most {MAX_ENTRY} are allowed")));
        }
        self.from.by_ref().take(len).read_to_end(&mut framed.bytes).map_err(Trouble::Read)?;
        if framed.bytes.len() as u64 != len {
            return Err(cut_off(&framed));
        }
        self.at += 4 + len;
        self.count += 1;
        Ok(Some(framed))
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
mod tests;
