//! Where the bytes of a task's files lie: one unnamed file, cut into blocks.
//!
//! The executor makes the file and hands it in, so a worker that may open nothing can still write; the file has no
//! name, so nothing is left over whatever dies. Its size is bounded by the quotas of [`super::vfs`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes in a block: small, so that many tiny files waste little.
pub(crate) const BLOCK: u64 = 4096;

/// A block that was never written and reads as zeros.
pub(crate) const HOLE: u32 = u32::MAX;

/// Blocks in a file, handed out and taken back.
#[derive(Default)]
pub(crate) struct Blocks {
    file: Option<File>,
    next: u32,
    free: Vec<u32>,
}

impl Blocks {
    pub(crate) fn new(file: Option<File>) -> Self {
        Self { file, next: 0, free: Vec::new() }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::StorageFull.into())
    }

    pub(crate) fn take_back(&mut self, blocks: impl IntoIterator<Item = u32>) {
        self.free.extend(blocks.into_iter().filter(|&block| block != HOLE));
    }

    fn allocate(&mut self) -> io::Result<u32> {
        if let Some(block) = self.free.pop() {
            // What stood here before must not show through.
            self.file()?.write_all_at(&[0; BLOCK as usize], u64::from(block) * BLOCK)?;
            return Ok(block);
        }
        if self.next == HOLE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Writes `bytes` at `offset` of the file that consists of `blocks`, which must be long enough.
    pub(crate) fn write(&mut self, blocks: &mut [u32], offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let index = (at / BLOCK) as usize;
            if blocks[index] == HOLE {
                blocks[index] = self.allocate()?;
            }
            let first = blocks[index];
            let mut run = 1;
            let wanted = ((bytes.len() - done) as u64 + at % BLOCK).div_ceil(BLOCK) as usize;
            while run < wanted {
                if blocks[index + run] == HOLE {
                    blocks[index + run] = self.allocate()?;
                }
                if blocks[index + run] != first + run as u32 {
                    break;
                }
                run += 1;
            }
            let len = (run as u64 * BLOCK - at % BLOCK).min((bytes.len() - done) as u64) as usize;
            self.file()?.write_all_at(&bytes[done..done + len], u64::from(first) * BLOCK + at % BLOCK)?;
            done += len;
        }
        Ok(())
    }

    /// Fills `bytes` from `offset` of the file that consists of `blocks`; holes read as zeros.
    pub(crate) fn read(&self, blocks: &[u32], offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let len = ((BLOCK - at % BLOCK) as usize).min(bytes.len() - done);
            let part = &mut bytes[done..done + len];
            match blocks[(at / BLOCK) as usize] {
                HOLE => part.fill(0),
                block => read_or_zero(self.file()?, part, u64::from(block) * BLOCK + at % BLOCK)?,
            }
            done += len;
        }
        Ok(())
    }
}

/// The last block may not have been written to its end; the rest of it is zeros.
pub(crate) fn read_or_zero(file: &File, mut part: &mut [u8], mut at: u64) -> io::Result<()> {
    while !part.is_empty() {
        match file.read_at(part, at)? {
            0 => {
                part.fill(0);
                return Ok(());
            }
            count => {
                part = &mut part[count..];
                at += count as u64;
            }
        }
    }
    Ok(())
}
