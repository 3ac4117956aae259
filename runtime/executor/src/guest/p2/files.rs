//! Files and folders: `wasi:filesystem` over our own file system, or over folders of this machine.
// spec: SBX-6, SBX-11, SBX-13

use super::streams::{CHUNK, FileInput, FileOutput};
use super::{NS, datetime, offer, shared};
use crate::engine::{CALL_FUEL, FILE_FUEL};
use crate::guest::charge;
use crate::guest::vfs::{Errno, FileType, Kind, NodeId, OpenHow, Stat, Vfs};
use crate::guest::{Host, lock};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptor,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

const TYPES: &str = "wasi:filesystem/types@0.2.12";
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";

/// A node that is held as long as this lives.
pub(super) struct Held {
    files: Arc<Mutex<Vfs>>,
    node: NodeId,
}

impl Held {
    /// Takes over what [`Vfs::open`] or [`Vfs::hold`] held.
    fn new(files: Arc<Mutex<Vfs>>, node: NodeId) -> Self {
        Self { files, node }
    }

    fn again(&self) -> Self {
        self.files().hold(self.node);
        Self { files: self.files.clone(), node: self.node }
    }

    /// Nothing that is held may be dropped while this is there.
    pub(super) fn files(&self) -> MutexGuard<'_, Vfs> {
        lock(&self.files)
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let node = self.node;
        self.files().close(node);
    }
}

/// An open file or folder.
struct Descriptor {
    held: Held,
    flags: DescriptorFlags,
}

/// A listing under way: the names after the last one told, whatever came and went meanwhile.
struct Listing {
    held: Held,
    last: Option<String>,
}

/// Why a stream on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(super) struct Failure(pub(super) Errno);

impl From<Errno> for ErrorCode {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::BadFd => Self::BadDescriptor,
            Errno::Busy => Self::Busy,
            Errno::Exist => Self::Exist,
            Errno::FileTooBig => Self::FileTooLarge,
            Errno::IllegalBytes => Self::IllegalByteSequence,
            Errno::Fault | Errno::Invalid => Self::Invalid,
            Errno::Io => Self::Io,
            Errno::IsDir => Self::IsDirectory,
            Errno::Loop => Self::Loop,
            Errno::MFile => Self::Quota,
            Errno::NameTooLong => Self::NameTooLong,
            Errno::NoEntry => Self::NoEntry,
            Errno::NoSpace => Self::InsufficientSpace,
            Errno::NotDir => Self::NotDirectory,
            Errno::NotEmpty => Self::NotEmpty,
            Errno::NotSock | Errno::NotSup => Self::Unsupported,
            Errno::Overflow | Errno::Range => Self::Overflow,
            Errno::Perm => Self::NotPermitted,
            Errno::RoFs => Self::ReadOnly,
            Errno::SPipe => Self::InvalidSeek,
            Errno::XDev => Self::CrossDevice,
        }
    }
}

impl From<Errno> for FsError {
    fn from(errno: Errno) -> Self {
        ErrorCode::from(errno).into()
    }
}

fn filetype(filetype: FileType) -> DescriptorType {
    match filetype {
        FileType::Dir => DescriptorType::Directory,
        FileType::File => DescriptorType::RegularFile,
        FileType::Link => DescriptorType::SymbolicLink,
    }
}

fn stat(stat: &Stat) -> DescriptorStat {
    DescriptorStat {
        type_: filetype(stat.filetype),
        link_count: stat.nlink,
        size: stat.size,
        data_access_timestamp: Some(datetime(stat.atim)),
        data_modification_timestamp: Some(datetime(stat.mtim)),
        status_change_timestamp: Some(datetime(stat.ctim)),
    }
}

/// A node's number tells it apart from all others of the task, on every machine alike.
// spec: SBX-13
fn metadata_hash(stat: &Stat) -> MetadataHashValue {
    MetadataHashValue { lower: stat.ino, upper: 0 }
}

fn timestamp(given: &NewTimestamp, now: u64) -> Result<Option<u64>, Errno> {
    match given {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(now)),
        NewTimestamp::Timestamp(time) if u64::from(time.nanoseconds) >= NS => Err(Errno::Invalid),
        NewTimestamp::Timestamp(time) => {
            let ns = time.seconds.checked_mul(NS).and_then(|ns| ns.checked_add(time.nanoseconds.into()));
            ns.map(Some).ok_or(Errno::Overflow)
        }
    }
}

fn follow(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn files(host: &Host) -> MutexGuard<'_, Vfs> {
    lock(&host.files)
}

type Fd = Resource<Descriptor>;

fn open<'a>(host: &'a Host, fd: &Fd) -> FsResult<&'a Descriptor> {
    Ok(host.table.get(fd)?)
}

fn node(host: &Host, fd: &Fd) -> FsResult<NodeId> {
    Ok(open(host, fd)?.held.node)
}

fn dir(host: &Host, fd: &Fd) -> FsResult<NodeId> {
    let node = node(host, fd)?;
    if files(host).is_dir(node) { Ok(node) } else { Err(ErrorCode::NotDirectory.into()) }
}

/// A file that was opened for what `flag` says.
fn file<'a>(host: &'a Host, fd: &Fd, flag: DescriptorFlags) -> FsResult<&'a Descriptor> {
    let open = open(host, fd)?;
    if files(host).is_dir(open.held.node) {
        return Err(ErrorCode::IsDirectory.into());
    }
    if !open.flags.contains(flag) {
        return Err(ErrorCode::BadDescriptor.into());
    }
    Ok(open)
}

fn open_at(
    host: &mut Host,
    fd: &Fd,
    path: &str,
    how: PathFlags,
    oflags: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    let (create, truncate) = (oflags.contains(OpenFlags::CREATE), oflags.contains(OpenFlags::TRUNCATE));
    let directory = oflags.contains(OpenFlags::DIRECTORY);
    let exclusive = oflags.contains(OpenFlags::EXCLUSIVE);
    if directory && (create || exclusive || truncate) {
        return Err(ErrorCode::Invalid.into());
    }
    let start = dir(host, fd)?;
    let write = flags.contains(DescriptorFlags::WRITE);
    let how = OpenHow { follow: follow(how), create, exclusive, truncate, directory, write };
    let held = Held::new(host.files.clone(), files(host).open(start, path, how)?);
    let (is_dir, writable) = {
        let files = held.files();
        (files.is_dir(held.node), files.writable(held.node).is_ok())
    };
    let mut given = DescriptorFlags::empty();
    if is_dir {
        if write {
            return Err(ErrorCode::IsDirectory.into());
        }
        given |= DescriptorFlags::READ;
        if writable {
            given |= DescriptorFlags::MUTATE_DIRECTORY;
        }
    } else {
        // What was made or emptied was opened for writing, whether the guest says so or not.
        let write = writable && (write || create || truncate);
        if write {
            given |= DescriptorFlags::WRITE;
        }
        if flags.contains(DescriptorFlags::READ) || !write {
            given |= DescriptorFlags::READ;
        }
    }
    host.table.push(Descriptor { held, flags: given }).map_err(|_| Errno::MFile.into())
}

fn next_entry(host: &mut Host, listing: &Resource<Listing>) -> FsResult<Option<DirectoryEntry>> {
    let listing = host.table.get_mut(listing)?;
    let entry = {
        let files = listing.held.files();
        let Kind::Dir(entries) = files.kind(listing.held.node) else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let after = listing.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = entries.range::<str, _>((after, Bound::Unbounded)).next();
        next.map(|(name, &id)| DirectoryEntry {
            type_: filetype(files.stat(id).filetype),
            name: name.clone(),
        })
    };
    if let Some(entry) = &entry {
        listing.last = Some(entry.name.clone());
    }
    Ok(entry)
}

/// What a call gives the guest: a value or the number of an error.
type Answer<R> = wasmtime::Result<(Result<R, ErrorCode>,)>;

/// Runs a call on our own file system, with the clock's reading for the times it stamps.
fn answer<R>(
    store: &mut StoreContextMut<'_, Host>,
    body: impl FnOnce(&mut Host) -> FsResult<R>,
) -> Answer<R> {
    let host = store.data_mut();
    let now = shared(host)?.wall();
    files(host).set_now(now);
    Ok((match body(host) {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

/// Offers our own files.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(TYPES)?;
    instance.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, rep| {
        charge(&mut store, CALL_FUEL)?;
        store.data_mut().table.delete(Resource::<Descriptor>::new_own(rep))?;
        Ok(())
    })?;
    instance.resource("directory-entry-stream", ResourceType::host::<Listing>(), |mut store, rep| {
        charge(&mut store, CALL_FUEL)?;
        store.data_mut().table.delete(Resource::<Listing>::new_own(rep))?;
        Ok(())
    })?;
    link_descriptors(&mut instance)?;
    link_streams(&mut instance)?;
    link_paths(&mut instance)?;
    link_listings(&mut instance)?;
    offer!(instance, "filesystem-error-code", CALL_FUEL, |store, error: Resource<IoError>| {
        let error = store.data().table.get(&error)?;
        Ok((error.downcast_ref::<Failure>().map(|failure| ErrorCode::from(failure.0)),))
    });

    let mut instance = linker.instance(PREOPENS)?;
    offer!(instance, "get-directories", CALL_FUEL, |store| {
        let host = store.data_mut();
        let places = host.places.clone();
        let mut list = Vec::new();
        for (name, node) in places {
            let writable = {
                let mut files = files(host);
                files.hold(node);
                files.writable(node).is_ok()
            };
            let held = Held::new(host.files.clone(), node);
            let mutate = if writable { DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::empty() };
            list.push((host.table.push(Descriptor { held, flags: DescriptorFlags::READ | mutate })?, name));
        }
        Ok((list,))
    });
    Ok(())
}

fn link_descriptors(instance: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    offer!(
        instance,
        "[method]descriptor.advise",
        CALL_FUEL,
        |store, fd: Fd, _offset: u64, _len: u64, _advice: Advice| answer(store, |host| {
            let node = node(host, &fd)?;
            if files(host).is_dir(node) { Err(ErrorCode::BadDescriptor.into()) } else { Ok(()) }
        })
    );
    // What is written is where it will be read; there is nothing to wait for.
    offer!(instance, "[method]descriptor.sync-data", CALL_FUEL, |store, fd: Fd| answer(store, |host| {
        node(host, &fd).map(|_| ())
    }));
    offer!(instance, "[method]descriptor.sync", CALL_FUEL, |store, fd: Fd| answer(store, |host| {
        node(host, &fd).map(|_| ())
    }));
    offer!(instance, "[method]descriptor.get-flags", CALL_FUEL, |store, fd: Fd| answer(store, |host| {
        Ok(open(host, &fd)?.flags)
    }));
    offer!(instance, "[method]descriptor.get-type", CALL_FUEL, |store, fd: Fd| answer(store, |host| {
        let node = node(host, &fd)?;
        Ok(filetype(files(host).stat(node).filetype))
    }));
    offer!(instance, "[method]descriptor.set-size", FILE_FUEL, |store, fd: Fd, size: u64| answer(
        store,
        |host| {
            let open = open(host, &fd)?;
            let is_dir = files(host).is_dir(open.held.node);
            if is_dir {
                return Err(ErrorCode::BadDescriptor.into());
            }
            if !open.flags.contains(DescriptorFlags::WRITE) {
                return Err(ErrorCode::Invalid.into());
            }
            let node = open.held.node;
            Ok(files(host).set_size(node, size)?)
        }
    ));
    offer!(
        instance,
        "[method]descriptor.set-times",
        FILE_FUEL,
        |store, fd: Fd, atim: NewTimestamp, mtim: NewTimestamp| answer(store, |host| {
            let now = shared(host).map_err(FsError::trap)?.wall();
            let node = node(host, &fd)?;
            Ok(files(host).set_times(node, timestamp(&atim, now)?, timestamp(&mtim, now)?)?)
        })
    );
    offer!(instance, "[method]descriptor.stat", FILE_FUEL, |store, fd: Fd| answer(store, |host| {
        let node = node(host, &fd)?;
        Ok(stat(&files(host).stat(node)))
    }));
    offer!(instance, "[method]descriptor.is-same-object", CALL_FUEL, |store, one: Fd, other: Fd| {
        let table = &store.data().table;
        Ok((table.get(&one)?.held.node == table.get(&other)?.held.node,))
    });
    offer!(instance, "[method]descriptor.metadata-hash", FILE_FUEL, |store, fd: Fd| answer(store, |host| {
        let node = node(host, &fd)?;
        Ok(metadata_hash(&files(host).stat(node)))
    }));
    Ok(())
}

fn link_streams(instance: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    offer!(instance, "[method]descriptor.read", FILE_FUEL, |store, fd: Fd, len: u64, offset: u64| {
        let read = answer(store, |host| {
            let node = file(host, &fd, DescriptorFlags::READ)?.held.node;
            let mut bytes = vec![0; len.min(CHUNK as u64) as usize];
            let count = files(host).read(node, offset, &mut bytes)?;
            bytes.truncate(count);
            let end = count == 0 && len > 0;
            Ok((bytes, end))
        })?;
        charge(&mut *store, read.0.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64))?;
        Ok(read)
    });
    offer!(
        instance,
        "[method]descriptor.write",
        FILE_FUEL + bytes.len() as u64,
        |store, fd: Fd, bytes: Vec<u8>, offset: u64| answer(store, |host| {
            let node = file(host, &fd, DescriptorFlags::WRITE)?.held.node;
            Ok(files(host).write(node, offset, &bytes)? as u64)
        })
    );
    offer!(instance, "[method]descriptor.read-via-stream", CALL_FUEL, |store, fd: Fd, offset: u64| {
        answer(store, |host| {
            let shared = shared(host).map_err(FsError::trap)?;
            let file = file(host, &fd, DescriptorFlags::READ)?.held.again();
            let stream: DynInputStream = Box::new(FileInput { file, position: offset, shared });
            Ok(host.table.push(stream)?)
        })
    });
    offer!(instance, "[method]descriptor.write-via-stream", CALL_FUEL, |store, fd: Fd, offset: u64| {
        answer(store, |host| output(host, &fd, Some(offset)))
    });
    offer!(instance, "[method]descriptor.append-via-stream", CALL_FUEL, |store, fd: Fd| {
        answer(store, |host| output(host, &fd, None))
    });
    Ok(())
}

fn output(host: &mut Host, fd: &Fd, position: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
    let shared = shared(host).map_err(FsError::trap)?;
    let file = file(host, fd, DescriptorFlags::WRITE)?.held.again();
    let stream: DynOutputStream = Box::new(FileOutput { file, position, shared });
    Ok(host.table.push(stream)?)
}

/// Fuel for an operation on paths of these lengths.
fn path_fuel(len: usize) -> u64 {
    FILE_FUEL + len as u64
}

fn link_paths(instance: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    offer!(
        instance,
        "[method]descriptor.open-at",
        path_fuel(path.len()),
        |store, fd: Fd, how: PathFlags, path: String, oflags: OpenFlags, flags: DescriptorFlags| {
            answer(store, |host| open_at(host, &fd, &path, how, oflags, flags))
        }
    );
    offer!(
        instance,
        "[method]descriptor.create-directory-at",
        path_fuel(path.len()),
        |store, fd: Fd, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(files(host).create_dir(start, &path)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.stat-at",
        path_fuel(path.len()),
        |store, fd: Fd, how: PathFlags, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(stat(&files(host).stat_at(start, &path, follow(how))?))
        })
    );
    offer!(
        instance,
        "[method]descriptor.set-times-at",
        path_fuel(path.len()),
        |store, fd: Fd, how: PathFlags, path: String, atim: NewTimestamp, mtim: NewTimestamp| {
            answer(store, |host| {
                let now = shared(host).map_err(FsError::trap)?.wall();
                let start = dir(host, &fd)?;
                let (atim, mtim) = (timestamp(&atim, now)?, timestamp(&mtim, now)?);
                Ok(files(host).set_times_at(start, &path, follow(how), atim, mtim)?)
            })
        }
    );
    offer!(
        instance,
        "[method]descriptor.link-at",
        path_fuel(old.len() + new.len()),
        |store, fd: Fd, how: PathFlags, old: String, to: Fd, new: String| answer(store, |host| {
            let (from, to) = (dir(host, &fd)?, dir(host, &to)?);
            Ok(files(host).link(from, &old, follow(how), to, &new)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.readlink-at",
        path_fuel(path.len()),
        |store, fd: Fd, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(files(host).readlink(start, &path)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.remove-directory-at",
        path_fuel(path.len()),
        |store, fd: Fd, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(files(host).remove_dir(start, &path)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.rename-at",
        path_fuel(old.len() + new.len()),
        |store, fd: Fd, old: String, to: Fd, new: String| answer(store, |host| {
            let (from, to) = (dir(host, &fd)?, dir(host, &to)?);
            Ok(files(host).rename(from, &old, to, &new)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.symlink-at",
        path_fuel(target.len() + path.len()),
        |store, fd: Fd, target: String, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(files(host).symlink(&target, start, &path)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.unlink-file-at",
        path_fuel(path.len()),
        |store, fd: Fd, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(files(host).unlink(start, &path)?)
        })
    );
    offer!(
        instance,
        "[method]descriptor.metadata-hash-at",
        path_fuel(path.len()),
        |store, fd: Fd, how: PathFlags, path: String| answer(store, |host| {
            let start = dir(host, &fd)?;
            Ok(metadata_hash(&files(host).stat_at(start, &path, follow(how))?))
        })
    );
    Ok(())
}

fn link_listings(instance: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    offer!(instance, "[method]descriptor.read-directory", FILE_FUEL, |store, fd: Fd| answer(store, |host| {
        dir(host, &fd)?;
        let held = open(host, &fd)?.held.again();
        Ok(host.table.push(Listing { held, last: None })?)
    }));
    offer!(
        instance,
        "[method]directory-entry-stream.read-directory-entry",
        2 * CALL_FUEL,
        |store, listing: Resource<Listing>| answer(store, |host| next_entry(host, &listing))
    );
    Ok(())
}

/// What a folder of this machine lists, sorted, the next one last.
struct Sorted(Vec<DirectoryEntry>);

/// Offers folders of this machine: `wasmtime-wasi`'s file system, whose path handling is hardened and kept, with
/// sorted listings.
pub(super) fn link_host(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<Host, WasiFilesystem>(linker, Host::filesystem)?;
    types::add_to_linker::<Host, WasiFilesystem>(linker, Host::filesystem)?;
    linker.allow_shadowing(true);
    let mut instance = linker.instance(TYPES)?;
    instance.resource("directory-entry-stream", ResourceType::host::<Sorted>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Sorted>::new_own(rep))?;
        Ok(())
    })?;
    offer!(
        instance,
        "[method]descriptor.read-directory",
        FILE_FUEL,
        |store, fd: Resource<types::Descriptor>| {
            let mut entries = match store.data_mut().filesystem().read_directory(fd).await {
                Ok(listing) => {
                    let listing = store.data_mut().table.delete(listing)?;
                    listing.into_iter().collect::<FsResult<Vec<DirectoryEntry>>>()
                }
                Err(error) => Err(error),
            };
            if let Ok(entries) = &mut entries {
                charge(&mut *store, entries.len() as u64 * 10)?;
                entries.sort_by(|one, other| other.name.cmp(&one.name));
            }
            answer(store, |host| Ok(host.table.push(Sorted(entries?))?))
        }
    );
    offer!(
        instance,
        "[method]directory-entry-stream.read-directory-entry",
        2 * CALL_FUEL,
        |store, listing: Resource<Sorted>| answer(store, |host| Ok(host.table.get_mut(&listing)?.0.pop()))
    );
    linker.allow_shadowing(false);
    Ok(())
}
