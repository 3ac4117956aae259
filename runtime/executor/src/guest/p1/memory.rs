//! A guest's linear memory, read and written without trusting a pointer.

use crate::guest::vfs::{Errno, MAX_PATH, Result};

/// The whole memory.
pub(super) struct Memory<'a>(pub(super) &'a mut [u8]);

/// Most buffers in one read or write, as on common systems.
const MAX_IOVS: u32 = 1024;

impl Memory<'_> {
    pub(super) fn bytes(&self, at: i32, len: i32) -> Result<&[u8]> {
        let (at, len) = (at as u32 as usize, len as u32 as usize);
        self.0.get(at..).and_then(|rest| rest.get(..len)).ok_or(Errno::Fault)
    }

    pub(super) fn bytes_mut(&mut self, at: i32, len: i32) -> Result<&mut [u8]> {
        let (at, len) = (at as u32 as usize, len as u32 as usize);
        self.0.get_mut(at..).and_then(|rest| rest.get_mut(..len)).ok_or(Errno::Fault)
    }

    pub(super) fn path(&self, at: i32, len: i32) -> Result<&str> {
        if len as u32 as usize > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        std::str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::IllegalBytes)
    }

    fn array<const N: usize>(&self, at: i32) -> Result<[u8; N]> {
        self.bytes(at, N as i32)?.try_into().map_err(|_| Errno::Fault)
    }

    pub(super) fn u16(&self, at: i32) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: i32) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: i32) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(super) fn put(&mut self, at: i32, bytes: &[u8]) -> Result<()> {
        self.bytes_mut(at, i32::try_from(bytes.len()).map_err(|_| Errno::Fault)?)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_u32(&mut self, at: i32, value: u32) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn put_u64(&mut self, at: i32, value: u64) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    /// The buffers of a read or write, each checked to lie in memory; and their bytes in all.
    pub(super) fn iovs(&self, at: i32, count: i32) -> Result<(Vec<(i32, i32)>, u64)> {
        let count = count as u32;
        if count > MAX_IOVS {
            return Err(Errno::Invalid);
        }
        let mut iovs = Vec::with_capacity(count as usize);
        let mut total = 0u64;
        for index in 0..count {
            let entry = (at as u32).checked_add(index * 8).ok_or(Errno::Fault)? as i32;
            let (ptr, len) = (self.u32(entry)? as i32, self.u32(entry.wrapping_add(4))? as i32);
            self.bytes(ptr, len)?;
            total += u64::from(len as u32);
            iovs.push((ptr, len));
        }
        // A count of bytes must fit the number that the call returns.
        if total > u64::from(u32::MAX) {
            return Err(Errno::Invalid);
        }
        Ok((iovs, total))
    }
}
