//! How each operation fails.
// spec: ARC-8

use std::io;
use std::path::PathBuf;

/// What was wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Its content cannot be trusted. It is set aside and rebuilt at the next start.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The system refused; the database itself may be well.
    #[error("reach the files of the database")]
    Io(#[source] io::Error),
}

/// Why a store did not open. Nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it is out of reach.
    #[error("use {path}", path = .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "lock {path}: another process keeps its state there; stop that one, or give this one a folder of its own",
        path = .path.display()
    )]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The journal is damaged before its end. It is left as it is, since it may hold what stands nowhere else.
    #[error(
        "read {path}: it is damaged at byte {offset} ({why}), as no crash leaves it; it was left as it is. Put a \
         sound copy in its place, or move it away to go on with what the database knows",
        path = .path.display()
    )]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// The first byte of the frame that is not whole.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The database neither opened nor could be made anew.
    #[error("open the database")]
    Database(#[source] Fault),
}

/// Why a commit did not take effect.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A record is larger than anything that is kept. Nothing was written.
    #[error("keep {what} of {bytes} bytes: at most {most} fit")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// No room is left. What was written of it was taken back; the next commit succeeds once there is room.
    #[error("write to the disk: it is full; free some space and it goes on")]
    Full(#[source] io::Error),
    /// The journal could not be written. What was written of it was taken back.
    #[error("write the journal")]
    Journal(#[source] io::Error),
    /// The database could not be written. It is opened anew at the next commit.
    #[error("write the database")]
    Database(#[source] Fault),
    /// The database could not even be opened anew. Nothing more is kept by this process. Where it is damaged, the next
    /// start makes it anew without peers' entries, which whoever went on would take for kept.
    #[error("write the database; only a new start can open it again")]
    Lost(#[source] Fault),
}

impl CommitError {
    pub(crate) fn journal(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Journal(error) }
    }

    pub(crate) fn database(fault: Fault) -> Self {
        match fault {
            Fault::Io(error) if is_full(&error) => Self::Full(error),
            fault => Self::Database(fault),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why what is kept could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database could not be read. If it is damaged, the next start sets it aside.
    #[error("read the database")]
    Database(#[source] Fault),
}

/// Why a store was not closed cleanly. Nothing committed was lost, and the next start takes it for a crash.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The database could not be written out.
    #[error("write out the database")]
    Database(#[source] Fault),
    /// The mark of a clean close could not be written.
    #[error("write the mark of a clean close")]
    Mark(#[source] io::Error),
}
