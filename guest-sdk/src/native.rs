//! The host of a native run: folders of this machine, and a record of what the task said.
// spec: SDK-1

use crate::{Level, Saved};
use mesh_protocol::abi;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a task said, in order.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) progress: Vec<(f64, String)>,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) checkpoints: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) input_dir: PathBuf,
    pub(crate) output_dir: PathBuf,
    pub(crate) share_dir: PathBuf,
    /// Shares that lie elsewhere.
    pub(crate) shares: BTreeMap<String, PathBuf>,
    pub(crate) meta: BTreeMap<&'static str, String>,
    /// What is answered to a checkpoint.
    pub(crate) saving: Saved,
    /// Most bytes of a checkpoint.
    pub(crate) checkpoint_bytes: usize,
    pub(crate) resume: Option<Vec<u8>>,
    /// How often `should_stop` still says no; `None` for ever.
    pub(crate) polls_left: Option<u32>,
    /// Without one, progress and logs go to stderr.
    pub(crate) record: Option<Record>,
}

impl Host {
    /// For a task that is started by hand: nobody is there to keep checkpoints or to ask it to stop.
    pub(crate) fn new() -> Self {
        let folder = |variable, default| {
            std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Self {
            input_dir: folder("MESH_IN", "in"),
            output_dir: folder("MESH_OUT", "out"),
            share_dir: folder("MESH_SHARE", "share"),
            shares: BTreeMap::new(),
            meta: BTreeMap::new(),
            saving: Saved::Denied,
            checkpoint_bytes: usize::MAX,
            resume: None,
            polls_left: None,
            record: None,
        }
    }

    pub(crate) fn progress(&mut self, permille: u32, note: &str) {
        match &mut self.record {
            Some(record) => record.progress.push((f64::from(permille) / 1000.0, note.to_owned())),
            None => eprintln!("{:5.1} % {note}", f64::from(permille) / 10.0),
        }
    }

    pub(crate) fn log(&mut self, level: Level, message: &str) {
        match &mut self.record {
            Some(record) => record.logs.push((level, message.to_owned())),
            None => eprintln!("{level:?}: {message}"),
        }
    }

    pub(crate) fn checkpoint_save(&mut self, state: &[u8]) -> i32 {
        match self.saving {
            _ if state.len() > self.checkpoint_bytes => abi::TOO_LARGE,
            Saved::TooOften => abi::TOO_OFTEN,
            Saved::Denied => abi::DENIED,
            Saved::Yes => {
                if let Some(record) = &mut self.record {
                    record.checkpoints.push(state.to_vec());
                }
                abi::OK
            }
        }
    }

    pub(crate) fn checkpoint_load(&mut self) -> Option<Vec<u8>> {
        self.resume.clone()
    }

    pub(crate) fn should_stop(&mut self) -> bool {
        match &mut self.polls_left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(crate) fn meta(&self, key: &str) -> String {
        self.meta.get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn input_dir(&self) -> &Path {
        &self.input_dir
    }

    pub(crate) fn output_dir(&self) -> &Path {
        &self.output_dir
    }

    pub(crate) fn share(&self, name: &str) -> PathBuf {
        self.shares.get(name).cloned().unwrap_or_else(|| self.share_dir.join(name))
    }
}
