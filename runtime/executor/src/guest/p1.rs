//! The imports of a core module: WASI preview 1 over our own file system, clock, randomness and streams.
//!
//! Folders of this machine (`--dir`) are served by `wasmtime-wasi`, whose path handling is hardened and kept; this
//! module decides which descriptor is whose, and sorts what a folder lists. Numbers and layouts are those of the
//! preview 1 ABI.
// spec: SBX-1, SBX-2, SBX-6, SBX-11, SBX-13

mod files;
mod memory;
mod poll;
mod process;

use super::vfs::{Errno, NodeId};
use super::{End, Host, MAX_HANDLES, begin};
use crate::engine::FILE_FUEL;
use memory::Memory;
use wasmtime::{AsContextMut, Caller, Extern, Linker};

/// The module's name in imports.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// The functions of preview 1.
pub(crate) const NAMES: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// What a descriptor stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fd {
    Stdin,
    Stdout,
    Stderr,
    /// A node of our own file system.
    Own(Open),
    /// A descriptor of `wasmtime-wasi`'s table.
    Host(i32),
}

/// An open node of our own file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) node: NodeId,
    pub(crate) position: u64,
    pub(crate) append: bool,
    pub(crate) write: bool,
    /// The path under which a folder was handed to the guest.
    pub(crate) place: Option<String>,
}

/// A guest's descriptors by number.
#[derive(Default)]
pub(crate) struct Fds {
    open: Vec<Option<Fd>>,
    /// What the folder listed last held when its listing began, so that a guest may delete as it reads on. One only,
    /// since each may be large.
    listing: Option<(i32, Vec<Listed>)>,
}

/// A name in a folder, its number and its kind.
pub(crate) type Listed = (Vec<u8>, u64, u8);

impl Fds {
    pub(crate) fn new(places: Vec<Fd>) -> Self {
        let open = [Fd::Stdin, Fd::Stdout, Fd::Stderr].into_iter().chain(places).map(Some).collect();
        Self { open, listing: None }
    }

    fn get(&mut self, fd: i32) -> Result<&mut Fd, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::BadFd)?;
        self.open.get_mut(index).and_then(Option::as_mut).ok_or(Errno::BadFd)
    }

    fn own(&mut self, fd: i32) -> Result<&mut Open, Errno> {
        match self.get(fd)? {
            Fd::Own(open) => Ok(open),
            Fd::Stdin | Fd::Stdout | Fd::Stderr | Fd::Host(_) => Err(Errno::BadFd),
        }
    }

    fn has_room(&self) -> Result<(), Errno> {
        let used = self.open.iter().flatten().count();
        if used < MAX_HANDLES { Ok(()) } else { Err(Errno::MFile) }
    }

    /// Takes the lowest free number.
    fn insert(&mut self, fd: Fd) -> Result<i32, Errno> {
        self.has_room()?;
        let index = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if index == self.open.len() {
            self.open.push(None);
        }
        self.open[index] = Some(fd);
        i32::try_from(index).map_err(|_| Errno::MFile)
    }

    fn take(&mut self, fd: i32) -> Result<Fd, Errno> {
        if self.listing.as_ref().is_some_and(|(listed, _)| *listed == fd) {
            self.listing = None;
        }
        let index = usize::try_from(fd).map_err(|_| Errno::BadFd)?;
        self.open.get_mut(index).and_then(Option::take).ok_or(Errno::BadFd)
    }
}

type Guest<'a> = Caller<'a, Host>;

/// Fuel used by the task so far, resumed attempts included.
pub(crate) fn fuel_used(guest: &Guest<'_>) -> u64 {
    guest.data().limits.fuel.saturating_sub(guest.get_fuel().unwrap_or(0))
}

/// The guest's memory and everything else of it, side by side.
fn parts<'a>(guest: &'a mut Guest<'_>) -> wasmtime::Result<(Memory<'a>, &'a mut Host)> {
    let Some(Extern::Memory(memory)) = guest.get_export("memory") else {
        return Err(End::Misuse("a host call needs the guest to export its memory".into()).into());
    };
    let (bytes, host) = memory.data_and_store_mut(guest.as_context_mut());
    Ok((Memory(bytes), host))
}

/// The number a call returns.
fn code(result: Result<(), Errno>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => errno as i32,
    }
}

/// Runs a call that waits for nothing.
async fn call(
    guest: &mut Guest<'_>,
    fuel: u64,
    body: impl FnOnce(Memory<'_>, &mut Host) -> Result<(), Errno>,
) -> wasmtime::Result<i32> {
    begin(&mut *guest, fuel).await?;
    let (memory, host) = parts(guest)?;
    Ok(code(body(memory, host)))
}

/// Runs a call on our own file system, with the clock's reading for the times it stamps.
async fn file_call(
    guest: &mut Guest<'_>,
    body: impl FnOnce(Memory<'_>, &mut Host) -> Result<(), Errno>,
) -> wasmtime::Result<i32> {
    begin(&mut *guest, FILE_FUEL).await?;
    let used = fuel_used(guest);
    let (memory, host) = parts(guest)?;
    let now = super::lock(&host.clock).wall(used);
    super::lock(&host.files).set_now(now);
    Ok(code(body(memory, host)))
}

/// Is this descriptor, if it is open at all, one of `wasmtime-wasi`'s?
fn host_fd(guest: &mut Guest<'_>, fd: i32) -> Option<i32> {
    match guest.data_mut().fds.get(fd) {
        Ok(Fd::Host(inner)) => Some(*inner),
        Ok(Fd::Stdin | Fd::Stdout | Fd::Stderr | Fd::Own(_)) | Err(_) => None,
    }
}

/// Hands a call on to `wasmtime-wasi`: `wait` for those of its functions that may, `sync` for the others.
macro_rules! on_host {
    (wait $guest:expr, $name:ident, $($arg:expr),*) => {
        $crate::guest::p1::on_host!(@call (.await) $guest, $name, $($arg),*)
    };
    (sync $guest:expr, $name:ident, $($arg:expr),*) => {
        $crate::guest::p1::on_host!(@call () $guest, $name, $($arg),*)
    };
    (@call ($($wait:tt)*) $guest:expr, $name:ident, $($arg:expr),*) => {{
        $crate::guest::begin(&mut *$guest, $crate::engine::FILE_FUEL).await?;
        let (memory, host) = $crate::guest::p1::parts($guest)?;
        let Some(dirs) = host.host_dirs.as_mut() else { return Ok($crate::guest::vfs::Errno::BadFd as i32) };
        // The library takes what a call copies from this, and expects to be given it anew for each.
        wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1::set_hostcall_fuel(
            dirs,
            $crate::engine::HOSTCALL_BYTES,
        );
        let mut memory = wiggle::GuestMemory::Unshared(memory.0);
        wasmtime_wasi::p1::wasi_snapshot_preview1::$name(dirs, &mut memory, $($arg),*) $($wait)*
    }};
}
use on_host;

/// Offers every function of preview 1.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    process::link(linker)?;
    poll::link(linker)?;
    files::link(linker)
}
