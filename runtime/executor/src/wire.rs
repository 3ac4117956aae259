//! What executor and worker say to each other: one message a packet over a private socket pair, files beside them.
//!
//! A worker may have been taken over by what it runs, so everything it says is decoded strictly and bounded here, and
//! believed nowhere: the executor hashes, counts and checks for itself.

use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::{Outcome, Stream};
use mesh_protocol::permissions::Access;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Largest message. Below the kernel's default buffer for a socket, so that one always fits.
pub(crate) const MAX_MESSAGE: usize = 96 * 1024;
/// Most bytes of a stream or of guest data in one message.
pub(crate) const MAX_CHUNK: usize = 64 * 1024;
/// Most files beside one message; the kernel allows 253.
pub(crate) const MAX_FDS: usize = 200;
/// Most tree entries in one message: paths may have 4 KiB each.
pub(crate) const MAX_ENTRIES_BYTES: usize = 64 * 1024;

/// Executor to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// First of all: which folders of this machine tasks will see (path, name in the guest, access). With none, the
    /// worker shuts out the whole file system.
    Prepare { dirs: Vec<HostDir> },
    /// Files for the next start, in order.
    Files,
    /// Entries of `/in`, `/out` and shares for the next start.
    Entries(Vec<InEntry>),
    /// Run this. Files beside it: the compiled module, then the block file, then stdin, as [`Start`] says.
    Start(Box<Start>),
    /// End the task now.
    Cancel,
    /// Let the task know that it should end soon.
    Stop,
    /// The next bytes of a streamed stdin, after [`FromWorker::WantStdin`]; none at its end.
    Stdin(Vec<u8>),
    /// The checkpoint was taken; go on.
    CheckpointTaken,
}

/// A folder of this machine that a task sees as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDir {
    /// Path on this machine.
    pub host: String,
    /// Path the task knows it by.
    pub guest: String,
    /// May the task change it?
    pub writable: bool,
}

/// A file or folder handed to a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InEntry {
    /// In which tree: 0 `/in`, 1 `/out`, from 2 on the shares in order.
    pub(crate) tree: u16,
    /// Path within the tree, `/` between names; folders come before what is in them.
    pub(crate) path: String,
    pub(crate) node: InNode,
    /// Nanoseconds since 1970; negative before, where the task is told 0.
    pub(crate) mtime: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum InNode {
    Dir,
    /// `file` numbers the files sent before the start.
    File {
        file: u32,
        offset: u64,
        len: u64,
    },
    Link(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModuleKind {
    Core,
    Component,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StdinKind {
    Empty,
    /// The last file beside the start message, from its beginning.
    File,
    /// Asked for with [`FromWorker::WantStdin`].
    Streamed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) kind: ModuleKind,
    /// May the compiled module kept from the last task be used again? Set when it is the same one; then no compiled
    /// module lies beside the message.
    pub(crate) same_module: bool,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) limits: Limits,
    pub(crate) seed: [u8; 32],
    pub(crate) stdin: StdinKind,
    /// Is there a block file beside the message?
    pub(crate) blocks: bool,
    /// Is `/in` shown, `/out`, and at the root or as places of their own?
    pub(crate) places: Places,
    /// Names of the shares, and how they may be used.
    pub(crate) shares: Vec<(String, Access)>,
    pub(crate) real_clock: bool,
    pub(crate) real_random: bool,
    /// Answers to `meta`.
    pub(crate) meta: Vec<(String, String)>,
    /// Does anybody want checkpoints?
    pub(crate) checkpoints: bool,
    pub(crate) resume: Option<Resume>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Places {
    /// One root with `in`, `out` and `share` in it.
    Root,
    /// Only what holds something, each by its own path, after the folders of this machine.
    Apart { input: bool, output: bool },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) fuel_used: u64,
    pub(crate) clock_ns: u64,
    pub(crate) random_pos: u64,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    /// The state lies in the files sent before the start.
    pub(crate) state: (u32, u64, u64),
}

/// Worker to executor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// It stands within these walls and waits.
    Ready {
        walls: Vec<String>,
    },
    /// It could not get ready.
    Failed(String),
    /// Its world is set up; the guest's first instruction is next.
    Started,
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    WantStdin,
    Progress {
        permille: u16,
        note: String,
    },
    Log {
        level: u8,
        text: String,
    },
    /// At least so much fuel was used by now.
    Meter {
        fuel: u64,
    },
    /// A checkpoint begins: the state follows in [`FromWorker::Data`], then the tree of `/out` in
    /// [`FromWorker::Tree`], then [`FromWorker::CheckpointEnd`]; nothing else comes between, unless the task is ended
    /// meanwhile: then the rest of it never comes.
    Checkpoint {
        fuel_used: u64,
        clock_ns: u64,
        random_pos: u64,
        state_len: u64,
    },
    Data(Vec<u8>),
    /// The next entries of a tree: 0 `/out` as it was when the checkpoint began, and at the end 1 `/out`, from 2 on the
    /// shares in order.
    Tree {
        tree: u16,
        entries: Vec<(String, OutNode)>,
    },
    CheckpointEnd,
    Finished(Box<Finished>),
}

/// What a task left at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OutNode {
    Dir,
    File {
        len: u64,
        content: OutContent,
    },
    Link(String),
    /// More runs of the file just before.
    More(Vec<(u32, u32)>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OutContent {
    /// Runs of blocks in the block file, as (first, count).
    Runs(Vec<(u32, u32)>),
    /// Unchanged: the file of this number among those sent.
    Origin(u32),
}

/// The end of a task, as its worker saw it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    pub(crate) fuel: u64,
    pub(crate) peak_memory: u64,
    pub(crate) memory_refused: bool,
    pub(crate) cpu_us: u64,
    /// Could the guest know that it was told to stop?
    pub(crate) saw_stop: bool,
    /// Names it looked for in vain.
    pub(crate) missed: Vec<String>,
    /// May this worker run another task?
    pub(crate) reusable: bool,
    /// What the engine says of a trap, for people.
    pub(crate) detail: String,
}

impl FromWorker {
    pub(crate) fn stream(stream: Stream, bytes: Vec<u8>) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout(bytes),
            Stream::Stderr => Self::Stderr(bytes),
        }
    }
}

/// Makes the two ends of a connection: the executor's and the worker's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message with files beside it. `Ok(false)` when the other side has to read first and `wait` is not set;
/// with it, an error when it does not in good time.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<bool> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too large for one packet"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for file descriptors"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, flags) {
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::AGAIN) if !wait => return Ok(false),
            Err(rustix::io::Errno::AGAIN) => {
                let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
                if matches!(poll(&mut fds, Some(&PATIENCE)), Ok(0)) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long the other side may take to read, if it is waited for: far longer than an honest one ever does.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Receives the next message and the files beside it. `Ok(None)` when there is none yet (if not waiting); an end of
/// the connection is an error of kind `UnexpectedEof`.
pub(crate) fn receive<T: for<'de> Deserialize<'de>>(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    wait: bool,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    buffer.resize(MAX_MESSAGE, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(received) => break received,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is larger than allowed"));
    }
    Ok(Some((decode(&buffer[..received.bytes])?, fds)))
}

/// Decodes one message.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the message")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Cuts a list into parts that fit into a message each.
pub(crate) fn parts<T: Serialize>(entries: Vec<T>) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for entry in entries {
        let bytes = postcard::experimental::serialized_size(&entry).unwrap_or(MAX_ENTRIES_BYTES);
        if size + bytes > MAX_ENTRIES_BYTES && size > 0 {
            parts.push(Vec::new());
            size = 0;
        }
        size += bytes;
        parts.last_mut().expect("starts with one part").push(entry);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_and_files_cross() {
        let (a, b) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(send(&a, &ToWorker::Stdin(vec![7; MAX_CHUNK]), &[file.as_fd(), file.as_fd()], true).unwrap());
        let (message, fds) = receive::<ToWorker>(&b, &mut Vec::new(), true).unwrap().unwrap();
        assert!(matches!(message, ToWorker::Stdin(bytes) if bytes.len() == MAX_CHUNK));
        assert_eq!(fds.len(), 2);
        assert!(receive::<ToWorker>(&b, &mut Vec::new(), false).unwrap().is_none());
        drop(a);
        assert_eq!(
            receive::<ToWorker>(&b, &mut Vec::new(), true).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_full_socket_waits() {
        let (a, _b) = pair().unwrap();
        let mut sent = 0;
        while send(&a, &ToWorker::Stdin(vec![0; MAX_CHUNK]), &[], false).unwrap() {
            sent += 1;
            assert!(sent < 1000, "a socket holds only so much");
        }
        assert!(sent >= 1);
    }

    // A file of very many scattered blocks must still fit: its runs are what grows.
    #[test]
    fn parts_fit_into_messages() {
        let entries: Vec<_> = (0..10_000).map(|n| (format!("{n:0>200}"), OutNode::Dir)).collect();
        let parts = parts(entries);
        assert!(parts.len() > 10);
        for entries in parts {
            let message = FromWorker::Tree { tree: 1, entries };
            assert!(postcard::to_stdvec(&message).unwrap().len() < MAX_MESSAGE);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = decode::<FromWorker>(&bytes);
            let _either = decode::<ToWorker>(&bytes);
        }
    }
}
