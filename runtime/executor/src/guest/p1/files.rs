//! Descriptors, files and folders.

use super::{
    Fd, Fds, Guest, Listed, MODULE, Open, call, code, file_call, fuel_used, host_fd, on_host, parts,
};
use crate::engine::{CALL_FUEL, FILE_FUEL, HOSTCALL_BYTES};
use crate::guest::vfs::{Errno, FileType, NodeId, OpenHow, Result, Stat, Vfs};
use crate::guest::{Host, begin, charge, lock};
use mesh_protocol::outcome::Stream;
use std::sync::MutexGuard;
use wasmtime::Linker;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;

const RIGHT_DATASYNC: u64 = 1 << 0;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;
const RIGHT_ALLOCATE: u64 = 1 << 8;
const RIGHT_SET_SIZE: u64 = 1 << 22;
const RIGHT_POLL: u64 = 1 << 27;
/// What a folder is opened with, and what a file.
const RIGHTS_DIR: u64 = 0x0fbf_fe98;
const RIGHTS_FILE: u64 = 0x08e0_01ff;

const FLAG_APPEND: u16 = 1;

const TYPE_UNKNOWN: u8 = 0;

/// Bytes moved between two looks at whether the task should end.
const CHUNK: usize = 64 * 1024;

fn files(host: &Host) -> MutexGuard<'_, Vfs> {
    lock(&host.files)
}

fn dir(fds: &mut Fds, fd: i32) -> Result<NodeId> {
    match fds.get(fd)? {
        Fd::Own(open) => Ok(open.node),
        Fd::Stdin | Fd::Stdout | Fd::Stderr => Err(Errno::NotDir),
        Fd::Host(_) => Err(Errno::XDev),
    }
}

fn put_stat(memory: &mut super::Memory<'_>, at: i32, stat: &Stat) -> Result<()> {
    let mut bytes = [0; 64];
    bytes[8..16].copy_from_slice(&stat.ino.to_le_bytes());
    bytes[16] = stat.filetype as u8;
    for (index, field) in [stat.nlink, stat.size, stat.atim, stat.mtim, stat.ctim].into_iter().enumerate() {
        bytes[24 + index * 8..][..8].copy_from_slice(&field.to_le_bytes());
    }
    memory.put(at, &bytes)
}

/// Which times to set: a given one, now, or none.
fn times(atim: i64, mtim: i64, flags: i32, now: u64) -> Result<(Option<u64>, Option<u64>)> {
    let one = |given: i64, set: i32, set_now: i32| match (flags & set != 0, flags & set_now != 0) {
        (true, true) => Err(Errno::Invalid),
        (true, false) => Ok(Some(given as u64)),
        (false, true) => Ok(Some(now)),
        (false, false) => Ok(None),
    };
    Ok((one(atim, 1, 2)?, one(mtim, 4, 8)?))
}

fn release(host: &mut Host, fd: Fd) {
    if let Fd::Own(open) = fd {
        files(host).close(open.node);
    }
}

async fn close(guest: &mut Guest<'_>, fd: i32) -> wasmtime::Result<i32> {
    if let Some(inner) = host_fd(guest, fd) {
        let _closed = guest.data_mut().fds.take(fd);
        return on_host!(wait guest, fd_close, inner);
    }
    call(guest, CALL_FUEL, |_, host| {
        let fd = host.fds.take(fd)?;
        release(host, fd);
        Ok(())
    })
    .await
}

async fn read(
    guest: &mut Guest<'_>,
    fd: i32,
    iovs: i32,
    count: i32,
    out: i32,
    at: Option<i64>,
) -> wasmtime::Result<i32> {
    if let Some(inner) = host_fd(guest, fd) {
        return match at {
            None => on_host!(wait guest, fd_read, inner, iovs, count, out),
            Some(at) => on_host!(wait guest, fd_pread, inner, iovs, count, at, out),
        };
    }
    begin(&mut *guest, CALL_FUEL).await?;
    let (memory, host) = parts(guest)?;
    let prepared = memory.iovs(iovs, count).and_then(|(list, total)| {
        let kind = host.fds.get(fd)?.clone();
        Ok((list, total, kind))
    });
    let (list, total, kind) = match prepared {
        Ok(prepared) => prepared,
        Err(errno) => return Ok(errno as i32),
    };
    let mut done = 0u64;
    match kind {
        Fd::Stdin if at.is_some() => return Ok(Errno::SPipe as i32),
        Fd::Stdin => {
            let (stdin, output) = (host.stdin.clone(), host.output.clone());
            if total > 0 && matches!(stdin.read_now(0), Ok(None)) {
                output.flush().await?;
            }
            for (ptr, len) in list {
                if len == 0 {
                    continue;
                }
                match stdin.read(len as u32 as usize).await? {
                    Ok(bytes) => {
                        let (mut memory, _) = parts(guest)?;
                        if let Err(errno) = memory.put(ptr, &bytes) {
                            return Ok(errno as i32);
                        }
                        done = bytes.len() as u64;
                    }
                    Err(_) => return Ok(Errno::Io as i32),
                }
                // One wait is enough: what has come is handed over at once.
                break;
            }
        }
        Fd::Own(open) => {
            charge(&mut *guest, FILE_FUEL / 4)?;
            let (mut memory, host) = parts(guest)?;
            let mut files = files(host);
            let mut position = at.map_or(open.position, |at| at as u64);
            'all: for (ptr, len) in list {
                let Ok(target) = memory.bytes_mut(ptr, len) else { return Ok(Errno::Fault as i32) };
                for part in target.chunks_mut(CHUNK) {
                    match files.read(open.node, position, part) {
                        Ok(count) => {
                            position += count as u64;
                            done += count as u64;
                            if count < part.len() {
                                break 'all;
                            }
                        }
                        Err(errno) if done == 0 => return Ok(errno as i32),
                        Err(_) => break 'all,
                    }
                }
            }
            drop(files);
            if at.is_none()
                && let Ok(open) = host.fds.own(fd)
            {
                open.position = position;
            }
        }
        Fd::Stdout | Fd::Stderr | Fd::Host(_) => return Ok(Errno::BadFd as i32),
    }
    charge(&mut *guest, done)?;
    let (mut memory, _) = parts(guest)?;
    Ok(code(memory.put_u32(out, done as u32)))
}

async fn write(
    guest: &mut Guest<'_>,
    fd: i32,
    iovs: i32,
    count: i32,
    out: i32,
    at: Option<i64>,
) -> wasmtime::Result<i32> {
    if let Some(inner) = host_fd(guest, fd) {
        return match at {
            None => on_host!(wait guest, fd_write, inner, iovs, count, out),
            Some(at) => on_host!(wait guest, fd_pwrite, inner, iovs, count, at, out),
        };
    }
    begin(&mut *guest, CALL_FUEL).await?;
    let (memory, host) = parts(guest)?;
    let prepared = memory.iovs(iovs, count).and_then(|(list, total)| {
        let kind = host.fds.get(fd)?.clone();
        Ok((list, total, kind))
    });
    let (list, total, kind) = match prepared {
        Ok(prepared) => prepared,
        Err(errno) => return Ok(errno as i32),
    };
    charge(&mut *guest, total)?;
    let mut done = 0u64;
    match kind {
        Fd::Stdout | Fd::Stderr if at.is_some() => return Ok(Errno::SPipe as i32),
        Fd::Stdout | Fd::Stderr => {
            let stream = if kind == Fd::Stdout { Stream::Stdout } else { Stream::Stderr };
            let (_, host) = parts(guest)?;
            let output = host.output.clone();
            for (ptr, len) in list {
                let mut offset = 0u32;
                while offset < len as u32 {
                    let part = (len as u32 - offset).min(CHUNK as u32);
                    let (memory, _) = parts(guest)?;
                    let Ok(bytes) = memory.bytes((ptr as u32).wrapping_add(offset) as i32, part as i32)
                    else {
                        return Ok(Errno::Fault as i32);
                    };
                    let (full, over) = output.gather(stream, bytes);
                    if full || over {
                        output.flush_stream(stream).await?;
                    }
                    if over {
                        return Err(crate::guest::End::OutputExceeded(stream).into());
                    }
                    offset += part;
                }
            }
            done = total;
        }
        Fd::Own(open) => {
            charge(&mut *guest, FILE_FUEL / 4)?;
            let used = fuel_used(guest);
            let (memory, host) = parts(guest)?;
            let now = lock(&host.clock).wall(used);
            let mut files = files(host);
            files.set_now(now);
            if !open.write {
                return Ok(if files.is_dir(open.node) { Errno::IsDir } else { Errno::BadFd } as i32);
            }
            let end = files.stat(open.node).size;
            let mut position = match at {
                Some(at) => at as u64,
                None if open.append => end,
                None => open.position,
            };
            'all: for (ptr, len) in list {
                let Ok(source) = memory.bytes(ptr, len) else { return Ok(Errno::Fault as i32) };
                for part in source.chunks(CHUNK) {
                    match files.write(open.node, position, part) {
                        Ok(count) => {
                            position += count as u64;
                            done += count as u64;
                        }
                        Err(errno) if done == 0 => return Ok(errno as i32),
                        Err(_) => break 'all,
                    }
                }
            }
            drop(files);
            if at.is_none()
                && let Ok(open) = host.fds.own(fd)
            {
                open.position = position;
            }
        }
        Fd::Stdin | Fd::Host(_) => return Ok(Errno::BadFd as i32),
    }
    let (mut memory, _) = parts(guest)?;
    Ok(code(memory.put_u32(out, done as u32)))
}

fn fdstat(host: &mut Host, fd: i32) -> Result<[u8; 24]> {
    let (filetype, flags, rights) = match host.fds.get(fd)?.clone() {
        Fd::Stdin => (TYPE_UNKNOWN, 0, RIGHT_READ | RIGHT_POLL),
        Fd::Stdout | Fd::Stderr => (TYPE_UNKNOWN, FLAG_APPEND, RIGHT_WRITE | RIGHT_DATASYNC | RIGHT_POLL),
        Fd::Own(open) => {
            let filetype = files(host).stat(open.node).filetype;
            let rights = match filetype {
                FileType::Dir => RIGHTS_DIR,
                FileType::File | FileType::Link if open.write => RIGHTS_FILE,
                FileType::File | FileType::Link => {
                    RIGHTS_FILE & !(RIGHT_WRITE | RIGHT_ALLOCATE | RIGHT_SET_SIZE)
                }
            };
            (filetype as u8, if open.append { FLAG_APPEND } else { 0 }, rights)
        }
        Fd::Host(_) => return Err(Errno::BadFd),
    };
    let inheriting = if filetype == FileType::Dir as u8 { RIGHTS_DIR | RIGHTS_FILE } else { 0 };
    let mut bytes = [0; 24];
    bytes[0] = filetype;
    bytes[2..4].copy_from_slice(&flags.to_le_bytes());
    bytes[8..16].copy_from_slice(&rights.to_le_bytes());
    bytes[16..24].copy_from_slice(&inheriting.to_le_bytes());
    Ok(bytes)
}

fn seek(host: &mut Host, fd: i32, offset: i64, whence: i32) -> Result<u64> {
    if let Fd::Stdin | Fd::Stdout | Fd::Stderr = host.fds.get(fd)? {
        return Err(Errno::SPipe);
    }
    let open = host.fds.own(fd)?.clone();
    let stat = files(host).stat(open.node);
    if stat.filetype == FileType::Dir {
        return Err(Errno::BadFd);
    }
    let from = match whence {
        0 => 0,
        1 => open.position,
        2 => stat.size,
        _ => return Err(Errno::Invalid),
    };
    let position =
        from.checked_add_signed(offset).filter(|p| i64::try_from(*p).is_ok()).ok_or(Errno::Invalid)?;
    host.fds.own(fd)?.position = position;
    Ok(position)
}

/// One entry of a listing as the guest reads it.
fn dirent(next: u64, ino: u64, filetype: u8, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + name.len());
    bytes.extend(next.to_le_bytes());
    bytes.extend(ino.to_le_bytes());
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend([filetype, 0, 0, 0]);
    bytes.extend(name);
    bytes
}

/// Fills the guest's buffer; an entry that does not fit is cut, which tells the guest to ask again.
fn put_listing(
    memory: &mut super::Memory<'_>,
    (at, len): (i32, i32),
    out: i32,
    entries: impl Iterator<Item = Vec<u8>>,
) -> Result<()> {
    let buffer = memory.bytes_mut(at, len)?;
    let mut used = 0;
    for entry in entries {
        let count = entry.len().min(buffer.len() - used);
        buffer[used..used + count].copy_from_slice(&entry[..count]);
        used += count;
        if used == buffer.len() {
            break;
        }
    }
    memory.put_u32(out, used as u32)
}

async fn readdir(
    guest: &mut Guest<'_>,
    fd: i32,
    at: i32,
    len: i32,
    cookie: i64,
    out: i32,
) -> wasmtime::Result<i32> {
    begin(&mut *guest, u64::from(len as u32)).await?;
    let goes_on = cookie != 0 && guest.data().fds.listing.as_ref().is_some_and(|(listed, _)| *listed == fd);
    if !goes_on {
        let listed = match host_fd(guest, fd) {
            Some(inner) => list_host(guest, inner).await?,
            None => list_own(guest, fd),
        };
        match listed {
            Ok(listed) => {
                charge(&mut *guest, listed.len() as u64 * 10)?;
                guest.data_mut().fds.listing = Some((fd, listed));
            }
            Err(errno) => return Ok(errno),
        }
    }
    file_call(guest, |mut memory, host| {
        let skip = usize::try_from(cookie).map_err(|_| Errno::Invalid)?;
        let (_, listed) = host.fds.listing.as_ref().ok_or(Errno::BadFd)?;
        let entries = listed.iter().zip(1u64..).skip(skip);
        let entries = entries.map(|((name, ino, filetype), next)| dirent(next, *ino, *filetype, name));
        put_listing(&mut memory, (at, len), out, entries)
    })
    .await
}

fn list_own(guest: &mut Guest<'_>, fd: i32) -> std::result::Result<Vec<Listed>, i32> {
    let host = guest.data_mut();
    let list = |host: &mut Host| -> Result<Vec<Listed>> {
        let node = dir(&mut host.fds, fd)?;
        let files = files(host);
        let dots = [(".", files.stat(node)), ("..", files.stat(files.parent(node)))];
        let all = dots.into_iter().chain(files.list(node, 0)?);
        Ok(all.map(|(name, stat)| (name.as_bytes().to_vec(), stat.ino, stat.filetype as u8)).collect())
    };
    list(host).map_err(|errno| errno as i32)
}

/// The whole folder, into memory of our own, to sort it: two peers list it alike.
async fn list_host(
    guest: &mut Guest<'_>,
    inner: i32,
) -> wasmtime::Result<std::result::Result<Vec<Listed>, i32>> {
    let mut space = 64 * 1024;
    let listing = loop {
        if space > 64 << 20 {
            return Ok(Err(Errno::Overflow as i32));
        }
        let mut scratch = vec![0; space + 4];
        begin(&mut *guest, FILE_FUEL).await?;
        let Some(dirs) = guest.data_mut().host_dirs.as_mut() else { return Ok(Err(Errno::BadFd as i32)) };
        WasiSnapshotPreview1::set_hostcall_fuel(dirs, HOSTCALL_BYTES);
        let mut memory = wiggle::GuestMemory::Unshared(&mut scratch);
        let result = wasmtime_wasi::p1::wasi_snapshot_preview1::fd_readdir(
            dirs,
            &mut memory,
            inner,
            4,
            space as i32,
            0,
            0,
        )
        .await?;
        if result != 0 {
            return Ok(Err(result));
        }
        let used = u32::from_le_bytes(scratch[..4].try_into().unwrap_or_default()) as usize;
        if used < space {
            break scratch[4..4 + used].to_vec();
        }
        space *= 4;
    };
    let mut entries = Vec::new();
    let mut rest = &listing[..];
    while let Some((head, tail)) = rest.split_at_checked(24) {
        let name_len = u32::from_le_bytes(head[16..20].try_into().unwrap_or_default()) as usize;
        let Some((name, tail)) = tail.split_at_checked(name_len) else { break };
        let ino = u64::from_le_bytes(head[8..16].try_into().unwrap_or_default());
        entries.push((name.to_vec(), ino, head[20]));
        rest = tail;
    }
    entries.sort();
    Ok(Ok(entries))
}

#[expect(clippy::too_many_arguments, reason = "the arguments of path_open, as WASI has them")]
async fn path_open(
    guest: &mut Guest<'_>,
    fd: i32,
    lookup: i32,
    path: (i32, i32),
    oflags: i32,
    rights: i64,
    inheriting: i64,
    fdflags: i32,
    out: i32,
) -> wasmtime::Result<i32> {
    if let Err(errno) = guest.data().fds.has_room() {
        return Ok(errno as i32);
    }
    if let Some(inner) = host_fd(guest, fd) {
        let result = on_host!(wait guest, path_open, inner, lookup, path.0, path.1, oflags, rights, inheriting, fdflags, out)?;
        if result != 0 {
            return Ok(result);
        }
        let (mut memory, host) = parts(guest)?;
        let renumbered = memory.u32(out).and_then(|inner| {
            let fd = host.fds.insert(Fd::Host(inner as i32))?;
            memory.put_u32(out, fd as u32)
        });
        return Ok(code(renumbered));
    }
    file_call(guest, |mut memory, host| {
        memory.bytes(out, 4)?;
        let start = dir(&mut host.fds, fd)?;
        let path = memory.path(path.0, path.1)?;
        let write = rights as u64 & (RIGHT_WRITE | RIGHT_ALLOCATE | RIGHT_SET_SIZE) != 0;
        let how = OpenHow {
            follow: lookup & 1 != 0,
            create: oflags & 1 != 0,
            directory: oflags & 2 != 0,
            exclusive: oflags & 4 != 0,
            truncate: oflags & 8 != 0,
            write,
        };
        let node = files(host).open(start, path, how)?;
        let append = fdflags as u16 & FLAG_APPEND != 0;
        let open = Open { node, position: 0, append, write, place: None };
        match host.fds.insert(Fd::Own(open)) {
            Ok(fd) => memory.put_u32(out, fd as u32),
            Err(errno) => {
                files(host).close(node);
                Err(errno)
            }
        }
    })
    .await
}

async fn renumber(guest: &mut Guest<'_>, from: i32, to: i32) -> wasmtime::Result<i32> {
    let known = |guest: &mut Guest<'_>, fd| guest.data_mut().fds.get(fd).map(|_| ());
    if let Err(errno) = known(guest, from).and_then(|()| known(guest, to)) {
        return Ok(errno as i32);
    }
    if from == to {
        return call(guest, CALL_FUEL, |_, _| Ok(())).await;
    }
    let closed = close(guest, to).await?;
    if closed != 0 {
        return Ok(closed);
    }
    call(guest, CALL_FUEL, |_, host| {
        let fd = host.fds.take(from)?;
        host.fds.open[to as usize] = Some(fd);
        Ok(())
    })
    .await
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    link_descriptors(linker)?;
    link_paths(linker)
}

/// Functions on `(fd, …)`, by name: each goes to `wasmtime-wasi` if the descriptor is one of its own.
macro_rules! on_fd {
    ($linker:ident, $mode:ident $name:ident, ($($arg:ident: $ty:ty),*), |$memory:ident, $host:ident, $fd:ident| $own:expr) => {
        $linker.func_wrap_async(MODULE, stringify!($name), |mut guest: Guest<'_>, ($fd, $($arg,)*): (i32, $($ty,)*)| {
            Box::new(async move {
                if let Some(inner) = host_fd(&mut guest, $fd) {
                    return on_host!($mode &mut guest, $name, inner $(, $arg)*);
                }
                file_call(&mut guest, |$memory, $host| $own).await
            })
        })?;
    };
}

fn link_descriptors(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "fd_close", |mut guest: Guest<'_>, (fd,): (i32,)| {
        Box::new(async move { close(&mut guest, fd).await })
    })?;
    type Io = (i32, i32, i32, i32);
    linker.func_wrap_async(MODULE, "fd_read", |mut guest: Guest<'_>, (fd, iovs, count, out): Io| {
        Box::new(async move { read(&mut guest, fd, iovs, count, out, None).await })
    })?;
    linker.func_wrap_async(MODULE, "fd_write", |mut guest: Guest<'_>, (fd, iovs, count, out): Io| {
        Box::new(async move { write(&mut guest, fd, iovs, count, out, None).await })
    })?;
    type IoAt = (i32, i32, i32, i64, i32);
    linker.func_wrap_async(
        MODULE,
        "fd_pread",
        |mut guest: Guest<'_>, (fd, iovs, count, at, out): IoAt| {
            Box::new(async move { read(&mut guest, fd, iovs, count, out, Some(at)).await })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_pwrite",
        |mut guest: Guest<'_>, (fd, iovs, count, at, out): IoAt| {
            Box::new(async move { write(&mut guest, fd, iovs, count, out, Some(at)).await })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_readdir",
        |mut guest: Guest<'_>, (fd, at, len, cookie, out): (i32, i32, i32, i64, i32)| {
            Box::new(async move { readdir(&mut guest, fd, at, len, cookie, out).await })
        },
    )?;
    linker.func_wrap_async(MODULE, "fd_renumber", |mut guest: Guest<'_>, (from, to): (i32, i32)| {
        Box::new(async move { renumber(&mut guest, from, to).await })
    })?;
    on_fd!(linker, wait fd_advise, (offset: i64, len: i64, advice: i32), |_memory, host, fd| {
        if !(0..=5).contains(&advice) || offset < 0 || len < 0 {
            return Err(Errno::Invalid);
        }
        host.fds.own(fd).map(|_| ())
    });
    on_fd!(linker, sync fd_allocate, (_offset: i64, _len: i64), |_memory, host, fd| {
        host.fds.own(fd)?;
        Err(Errno::NotSup)
    });
    on_fd!(linker, wait fd_datasync, (), |_memory, host, fd| host.fds.get(fd).map(|_| ()));
    on_fd!(linker, wait fd_sync, (), |_memory, host, fd| host.fds.get(fd).map(|_| ()));
    on_fd!(linker, wait fd_fdstat_get, (out: i32), |memory, host, fd| {
        let mut memory = memory;
        let stat = fdstat(host, fd)?;
        memory.put(out, &stat)
    });
    on_fd!(linker, sync fd_fdstat_set_flags, (flags: i32), |_memory, host, fd| {
        // Non-blocking and synchronous modes make no difference to files in memory.
        let open = host.fds.own(fd)?;
        open.append = flags as u16 & FLAG_APPEND != 0;
        Ok(())
    });
    on_fd!(linker, sync fd_fdstat_set_rights, (_base: i64, _inheriting: i64), |_memory, host, fd| {
        host.fds.get(fd)?;
        Err(Errno::NotSup)
    });
    on_fd!(linker, wait fd_filestat_get, (out: i32), |memory, host, fd| {
        let mut memory = memory;
        match host.fds.get(fd)?.clone() {
            Fd::Own(open) => {
                let stat = files(host).stat(open.node);
                put_stat(&mut memory, out, &stat)
            }
            Fd::Stdin | Fd::Stdout | Fd::Stderr => memory.put(out, &[0; 64]),
            Fd::Host(_) => Err(Errno::BadFd),
        }
    });
    on_fd!(linker, wait fd_filestat_set_size, (size: i64), |_memory, host, fd| {
        let open = host.fds.own(fd)?.clone();
        if !open.write {
            return Err(Errno::Invalid);
        }
        files(host).set_size(open.node, u64::try_from(size).map_err(|_| Errno::FileTooBig)?)
    });
    linker.func_wrap_async(
        MODULE,
        "fd_filestat_set_times",
        |mut guest: Guest<'_>, (fd, atim, mtim, flags): (i32, i64, i64, i32)| {
            Box::new(async move {
                if let Some(inner) = host_fd(&mut guest, fd) {
                    return on_host!(wait &mut guest, fd_filestat_set_times, inner, atim, mtim, flags);
                }
                let used = fuel_used(&guest);
                file_call(&mut guest, |_, host| {
                    let (atim, mtim) = times(atim, mtim, flags, lock(&host.clock).wall(used))?;
                    let node = host.fds.own(fd)?.node;
                    files(host).set_times(node, atim, mtim)
                })
                .await
            })
        },
    )?;
    on_fd!(linker, sync fd_prestat_get, (out: i32), |memory, host, fd| {
        let mut memory = memory;
        let place = host.fds.own(fd)?.place.clone().ok_or(Errno::BadFd)?;
        memory.put_u64(out, (place.len() as u64) << 32)
    });
    on_fd!(linker, sync fd_prestat_dir_name, (at: i32, len: i32), |memory, host, fd| {
        let mut memory = memory;
        let place = host.fds.own(fd)?.place.clone().ok_or(Errno::NotDir)?;
        if place.len() > len as u32 as usize {
            return Err(Errno::NameTooLong);
        }
        memory.put(at, place.as_bytes())
    });
    on_fd!(linker, wait fd_seek, (offset: i64, whence: i32, out: i32), |memory, host, fd| {
        let mut memory = memory;
        let position = seek(host, fd, offset, whence)?;
        memory.put_u64(out, position)
    });
    on_fd!(linker, sync fd_tell, (out: i32), |memory, host, fd| {
        let mut memory = memory;
        let position = seek(host, fd, 0, 1)?;
        memory.put_u64(out, position)
    });
    Ok(())
}

fn link_paths(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "path_open",
        |mut guest: Guest<'_>,
         (fd, lookup, at, len, oflags, rights, inheriting, fdflags, out): (
            i32,
            i32,
            i32,
            i32,
            i32,
            i64,
            i64,
            i32,
            i32,
        )| {
            Box::new(async move {
                path_open(&mut guest, fd, lookup, (at, len), oflags, rights, inheriting, fdflags, out).await
            })
        },
    )?;
    on_fd!(linker, wait path_create_directory, (at: i32, len: i32), |memory, host, fd| {
        let start = dir(&mut host.fds, fd)?;
        files(host).create_dir(start, memory.path(at, len)?)
    });
    on_fd!(linker, wait path_remove_directory, (at: i32, len: i32), |memory, host, fd| {
        let start = dir(&mut host.fds, fd)?;
        files(host).remove_dir(start, memory.path(at, len)?)
    });
    on_fd!(linker, wait path_unlink_file, (at: i32, len: i32), |memory, host, fd| {
        let start = dir(&mut host.fds, fd)?;
        files(host).unlink(start, memory.path(at, len)?)
    });
    on_fd!(linker, wait path_filestat_get, (lookup: i32, at: i32, len: i32, out: i32), |memory, host, fd| {
        let mut memory = memory;
        let start = dir(&mut host.fds, fd)?;
        let stat = files(host).stat_at(start, memory.path(at, len)?, lookup & 1 != 0)?;
        put_stat(&mut memory, out, &stat)
    });
    linker.func_wrap_async(
        MODULE,
        "path_filestat_set_times",
        |mut guest: Guest<'_>,
         (fd, lookup, at, len, atim, mtim, flags): (i32, i32, i32, i32, i64, i64, i32)| {
            Box::new(async move {
                if let Some(inner) = host_fd(&mut guest, fd) {
                    return on_host!(wait &mut guest,
                        path_filestat_set_times,
                        inner,
                        lookup,
                        at,
                        len,
                        atim,
                        mtim,
                        flags
                    );
                }
                let used = fuel_used(&guest);
                file_call(&mut guest, |memory, host| {
                    let (atim, mtim) = times(atim, mtim, flags, lock(&host.clock).wall(used))?;
                    let start = dir(&mut host.fds, fd)?;
                    files(host).set_times_at(start, memory.path(at, len)?, lookup & 1 != 0, atim, mtim)
                })
                .await
            })
        },
    )?;
    on_fd!(linker, wait path_readlink, (at: i32, len: i32, buffer: i32, space: i32, out: i32), |memory, host, fd| {
        let mut memory = memory;
        let start = dir(&mut host.fds, fd)?;
        let target = files(host).readlink(start, memory.path(at, len)?)?;
        if target.len() > space as u32 as usize {
            return Err(Errno::Range);
        }
        memory.put(buffer, target.as_bytes())?;
        memory.put_u32(out, target.len() as u32)
    });
    linker.func_wrap_async(
        MODULE,
        "path_symlink",
        |mut guest: Guest<'_>, (target, target_len, fd, at, len): (i32, i32, i32, i32, i32)| {
            Box::new(async move {
                if let Some(inner) = host_fd(&mut guest, fd) {
                    return on_host!(wait &mut guest, path_symlink, target, target_len, inner, at, len);
                }
                file_call(&mut guest, |memory, host| {
                    let start = dir(&mut host.fds, fd)?;
                    files(host).symlink(memory.path(target, target_len)?, start, memory.path(at, len)?)
                })
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "path_rename",
        |mut guest: Guest<'_>, (fd, old, old_len, to, new, new_len): (i32, i32, i32, i32, i32, i32)| {
            Box::new(async move {
                match (host_fd(&mut guest, fd), host_fd(&mut guest, to)) {
                    (Some(fd), Some(to)) => {
                        on_host!(wait &mut guest, path_rename, fd, old, old_len, to, new, new_len)
                    }
                    (Some(_), None) | (None, Some(_)) => {
                        call(&mut guest, CALL_FUEL, |_, host| {
                            host.fds.get(fd)?;
                            host.fds.get(to)?;
                            Err(Errno::XDev)
                        })
                        .await
                    }
                    (None, None) => {
                        file_call(&mut guest, |memory, host| {
                            let (from, to) = (dir(&mut host.fds, fd)?, dir(&mut host.fds, to)?);
                            files(host).rename(
                                from,
                                memory.path(old, old_len)?,
                                to,
                                memory.path(new, new_len)?,
                            )
                        })
                        .await
                    }
                }
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "path_link",
        |mut guest: Guest<'_>,
         (fd, lookup, old, old_len, to, new, new_len): (i32, i32, i32, i32, i32, i32, i32)| {
            Box::new(async move {
                match (host_fd(&mut guest, fd), host_fd(&mut guest, to)) {
                    (Some(fd), Some(to)) => {
                        on_host!(wait &mut guest, path_link, fd, lookup, old, old_len, to, new, new_len)
                    }
                    (Some(_), None) | (None, Some(_)) => {
                        call(&mut guest, CALL_FUEL, |_, host| {
                            host.fds.get(fd)?;
                            host.fds.get(to)?;
                            Err(Errno::XDev)
                        })
                        .await
                    }
                    (None, None) => {
                        file_call(&mut guest, |memory, host| {
                            let (from, to) = (dir(&mut host.fds, fd)?, dir(&mut host.fds, to)?);
                            let (old, new) = (memory.path(old, old_len)?, memory.path(new, new_len)?);
                            files(host).link(from, old, lookup & 1 != 0, to, new)
                        })
                        .await
                    }
                }
            })
        },
    )?;
    Ok(())
}
