//! What a task can say to its host and ask of it.

#[cfg(not(target_family = "wasm"))]
use crate::native as host;
#[cfg(target_family = "wasm")]
use crate::raw as host;

use crate::{Error, Result};
use mesh_protocol::abi;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// How much a log line matters. The host may show only the more important ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be, and the task goes on.
    Warn = 1,
    /// What a person following the task wants to know.
    Info = 2,
    /// What only the task's author wants to know.
    Debug = 3,
}

/// What the host knows about this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The task's id, in hex.
    pub task_id: String,
    /// Which attempt at this task this is; 1 at each that must come to the same as any other.
    pub attempt: u32,
    /// The task's name, as its submitter wrote it.
    pub name: String,
    /// Bytes of memory that the task may use.
    pub memory_bytes: u64,
    /// Units of fuel that the task may use.
    pub fuel: u64,
}

/// What became of a checkpoint. All three are well: a task that goes on without looking loses only time, and only
/// when it is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Saved {
    /// The host has the state. Should the run end early, the next one may resume from it.
    Yes,
    /// Not saved, since the last one was saved only just now; the host still has that one.
    TooOften,
    /// Not saved: the manifest asks for no checkpoints, or the task has a writable share, which a second run would find
    /// changed.
    Denied,
}

/// A task's connection to its host.
// spec: SDK-2
#[derive(Debug)]
pub struct Context {
    pub(crate) host: host::Host,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { host: host::Host::new() }
    }

    /// Says how far the task is: `fraction` from 0.0 to 1.0 (kept in that range, and to a thousandth), and a note of at
    /// most 256 bytes (cut when longer) for a person. Cannot fail: what the host does not take is dropped.
    pub fn progress(&mut self, fraction: f64, note: &str) {
        // Casting saturates, and makes 0 of NaN.
        let permille = (fraction.clamp(0.0, 1.0) * 1000.0).round() as u32;
        self.host.progress(permille, cut(note, abi::MAX_NOTE));
    }

    /// Writes a line of at most 4096 bytes (cut when longer) to the run's log. Cannot fail: what the host does not take is
    /// dropped.
    pub fn log(&mut self, level: Level, message: &str) {
        self.host.log(level, cut(message, abi::MAX_LOG));
    }

    /// Gives the host a state from which a later run of this same task can go on with [`Context::restore`].
    ///
    /// The state is any serde type that postcard can encode (no `flatten`, no untagged enums, no maps of unknown length),
    /// of at most the manifest's `checkpoint` bytes once encoded. Save as often as it is worthwhile: the host says
    /// [`Saved::TooOften`] when it is too much.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) when the state cannot be encoded, or is larger than the manifest
    /// allows: then no later one would be saved either.
    pub fn checkpoint<State: Serialize + ?Sized>(&mut self, state: &State) -> Result<Saved> {
        let bytes = encode(state)?;
        match self.host.checkpoint_save(&bytes) {
            abi::OK.. => Ok(Saved::Yes),
            abi::TOO_OFTEN => Ok(Saved::TooOften),
            abi::DENIED => Ok(Saved::Denied),
            abi::TOO_LARGE => Err(Error::failed(format!(
                "cannot save a checkpoint of {} bytes: raise `checkpoint` in task.toml or save less",
                bytes.len()
            ))),
            code => Err(Error::failed(format!("cannot save a checkpoint: the host answered {code}"))),
        }
    }

    /// The state from which this run goes on, `None` when it starts afresh. Ask once, at the start.
    ///
    /// The state was made by an earlier run of this same module, but lay on other people's machines: check that what
    /// it says is possible before relying on it.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) when the saved bytes are not a `State`.
    pub fn restore<State: DeserializeOwned>(&mut self) -> Result<Option<State>> {
        let Some(bytes) = self.host.checkpoint_load() else { return Ok(None) };
        postcard::from_bytes(&bytes).map(Some).map_err(|error| {
            Error::failed(format!(
                "cannot resume: the {} bytes saved are not this task's state: {error}",
                bytes.len()
            ))
        })
    }

    /// Whether the host wants this run to end soon: save with [`Context::checkpoint`] and return [`Error::stopped`]. Ask
    /// every tenth of a second or so; a task that never asks is ended all the same, without a last checkpoint.
    pub fn should_stop(&mut self) -> bool {
        self.host.should_stop()
    }

    /// What the host knows about this run. Values that it does not tell are empty or 0.
    pub fn meta(&self) -> Meta {
        Meta {
            task_id: self.host.meta("task_id"),
            attempt: self.host.meta("attempt").parse().unwrap_or_default(),
            name: self.host.meta("name"),
            memory_bytes: self.host.meta("memory_bytes").parse().unwrap_or_default(),
            fuel: self.host.meta("fuel").parse().unwrap_or_default(),
        }
    }

    /// The folder with the named inputs, read-only. It is there only when the task has some.
    pub fn input_dir(&self) -> &Path {
        self.host.input_dir()
    }

    /// The folder for the files that belong to the result.
    pub fn output_dir(&self) -> &Path {
        self.host.output_dir()
    }

    /// The folder that the donor shares under this name. It is there only when `task.toml` asks for it and the donor grants
    /// it.
    pub fn share(&self, name: &str) -> PathBuf {
        self.host.share(name)
    }
}

pub(crate) fn encode<State: Serialize + ?Sized>(state: &State) -> Result<Vec<u8>> {
    postcard::to_stdvec(state)
        .map_err(|error| Error::failed(format!("cannot encode the checkpoint's state: {error}")))
}

/// The longest start of `text` that has at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
