//! Runs a task natively, in `cargo test`, on folders of its own.
//!
//! ```
//! use mesh_guest::testing::TestRun;
//! use mesh_guest::{Context, Result};
//!
//! // What `#[mesh_guest::task] fn main` leaves for tests is called `task`.
//! fn task(ctx: &mut Context, name: String) -> Result<usize> {
//!     let text = std::fs::read(ctx.input_dir().join(name))?;
//!     std::fs::write(ctx.output_dir().join("copy"), &text)?;
//!     ctx.progress(1.0, "copied");
//!     Ok(text.len())
//! }
//!
//! let run = TestRun::new().input_file("a.txt", "four").run(|ctx| task(ctx, "a.txt".to_owned()));
//! assert_eq!(run.result.unwrap(), 4);
//! assert_eq!(run.files["copy"], b"four");
//! assert_eq!(run.progress, [(1.0, "copied".to_owned())]);
//! ```
//!
//! This module stops a test with a panic when it cannot prepare or collect what the test asks for. It is not
//! there on wasm.
// spec: SDK-1

use crate::context::encode;
use crate::native::{Host, Record};
use crate::{Context, Level, Result, Saved};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for a test, gone with everything in it when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder of its own under the system's one for temporary files.
    ///
    /// # Panics
    /// When it cannot be created.
    #[expect(clippy::new_without_default, reason = "a default that makes a folder would surprise")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("mesh-guest-{}-{count}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // Left over from a process that had the same number and was killed.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot create {}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file in it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        if let Err(error) = fs::write(&path, content) {
            panic!("cannot write {}: {error}", path.display());
        }
    }

    /// Every file in it and in the folders below, by its name (with `/` between folders).
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        if let Err(error) = collect(&self.0, "", &mut files) {
            panic!("cannot read the files in {}: {error}", self.0.display());
        }
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that fails here would hide why it failed before.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// One run to be: what the task finds, and how its host behaves.
#[derive(Debug)]
pub struct TestRun {
    input: Folder,
    output: Folder,
    host: Host,
}

impl TestRun {
    /// A fresh run: nothing in `/in`, no shares, every checkpoint is saved, nobody asks it to stop.
    ///
    /// # Panics
    /// When the folders cannot be created.
    #[expect(clippy::new_without_default, reason = "a default that makes folders would surprise")]
    pub fn new() -> Self {
        let (input, output) = (Folder::new(), Folder::new());
        let meta = [
            ("task_id", "00".repeat(32)),
            ("attempt", "1".to_owned()),
            ("name", "test".to_owned()),
            ("memory_bytes", "64000000".to_owned()),
            ("fuel", "100000000000".to_owned()),
        ];
        let host = Host {
            input_dir: input.path().to_owned(),
            output_dir: output.path().to_owned(),
            share_dir: input.path().join("no-share-of-that-name"),
            shares: BTreeMap::new(),
            meta: meta.into(),
            saving: Saved::Yes,
            checkpoint_bytes: usize::MAX,
            resume: None,
            polls_left: None,
            record: Some(Record::default()),
        };
        Self { input, output, host }
    }

    /// Puts a named input in `/in`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn input_file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.input.write(name, content);
        self
    }

    /// Shares a folder of this machine under a name, to read and to write.
    #[must_use]
    pub fn share(mut self, name: &str, folder: impl Into<PathBuf>) -> Self {
        self.host.shares.insert(name.to_owned(), folder.into());
        self
    }

    /// Lets the run go on from this state.
    ///
    /// # Panics
    /// When the state cannot be encoded.
    #[must_use]
    pub fn resume<State: Serialize + ?Sized>(self, state: &State) -> Self {
        match encode(state) {
            Ok(bytes) => self.resume_bytes(bytes),
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets the run go on from a checkpoint of an earlier one, as it stands in [`Outcome::checkpoints`].
    #[must_use]
    pub fn resume_bytes(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.host.resume = Some(state.into());
        self
    }

    /// Asks the task to stop, after `polls` answers of no to [`Context::should_stop`].
    #[must_use]
    pub fn stop_after(mut self, polls: u32) -> Self {
        self.host.polls_left = Some(polls);
        self
    }

    /// Answers every checkpoint with this.
    #[must_use]
    pub fn saving(mut self, answer: Saved) -> Self {
        self.host.saving = answer;
        self
    }

    /// Refuses states of more bytes than this, as the manifest's `checkpoint` does.
    #[must_use]
    pub fn checkpoint_bytes(mut self, most: usize) -> Self {
        self.host.checkpoint_bytes = most;
        self
    }

    /// Runs a task and collects what came of it.
    ///
    /// # Panics
    /// When the task does, or when the files in `/out` cannot be read.
    pub fn run<T>(self, task: impl FnOnce(&mut Context) -> Result<T>) -> Outcome<T> {
        let Self { input: _input, output, host } = self;
        let mut context = Context { host };
        let result = task(&mut context);
        let Record { progress, logs, checkpoints } = context.host.record.unwrap_or_default();
        Outcome { result, progress, logs, checkpoints, files: output.files() }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the task returned.
    pub result: Result<T>,
    /// Every [`Context::progress`], in order: the fraction to a thousandth, and the note.
    pub progress: Vec<(f64, String)>,
    /// Every [`Context::log`], in order.
    pub logs: Vec<(Level, String)>,
    /// Every checkpoint that was saved, in order, encoded.
    pub checkpoints: Vec<Vec<u8>>,
    /// The files in `/out`, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl<T> Outcome<T> {
    /// The last state saved, `None` when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) when it is not a `State`.
    pub fn last_checkpoint<State: DeserializeOwned>(&self) -> Result<Option<State>> {
        Ok(self.checkpoints.last().map(|bytes| postcard::from_bytes(bytes)).transpose()?)
    }
}
