//! The imports of `mesh_v1`, and a safe face for each.
// spec: SDK-2
#![expect(unsafe_code, reason = "imports of a host are unsafe to call; nothing else here is")]

use crate::Level;
use mesh_protocol::abi;
use std::path::{Path, PathBuf};

mod import {
    #[link(wasm_import_module = "mesh_v1")]
    unsafe extern "C" {
        pub(super) fn progress(permille: u32, note: *const u8, note_len: usize) -> i32;
        pub(super) fn log(level: u32, text: *const u8, len: usize) -> i32;
        pub(super) fn checkpoint_save(state: *const u8, len: usize) -> i32;
        pub(super) fn checkpoint_len() -> i32;
        pub(super) fn checkpoint_load(state: *mut u8, len: usize) -> i32;
        pub(super) fn should_stop() -> i32;
        pub(super) fn meta(key: *const u8, key_len: usize, value: *mut u8, len: usize) -> i32;
    }
}

/// The attribute above takes no constant.
const _: () = assert!(matches!(abi::MODULE.as_bytes(), b"mesh_v1"));

/// The host itself. Calls go straight to the imports, so that the linker drops those a task never makes.
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn progress(&mut self, permille: u32, note: &str) {
        // SAFETY: the host reads `note.len()` bytes at `note`, which outlives the call.
        unsafe { import::progress(permille, note.as_ptr(), note.len()) };
    }

    pub(crate) fn log(&mut self, level: Level, message: &str) {
        // SAFETY: the host reads `message.len()` bytes at `message`, which outlives the call.
        unsafe { import::log(level as u32, message.as_ptr(), message.len()) };
    }

    pub(crate) fn checkpoint_save(&mut self, state: &[u8]) -> i32 {
        // SAFETY: the host reads `state.len()` bytes at `state`, which outlives the call.
        unsafe { import::checkpoint_save(state.as_ptr(), state.len()) }
    }

    pub(crate) fn checkpoint_load(&mut self) -> Option<Vec<u8>> {
        // SAFETY: takes and gives numbers only.
        let len = usize::try_from(unsafe { import::checkpoint_len() }).ok()?;
        let mut state = vec![0; len];
        // SAFETY: the host writes at most `len` bytes, and `state` has as many.
        let got = unsafe { import::checkpoint_load(state.as_mut_ptr(), len) };
        state.truncate(usize::try_from(got).ok()?);
        Some(state)
    }

    pub(crate) fn should_stop(&mut self) -> bool {
        // SAFETY: takes and gives numbers only.
        unsafe { import::should_stop() == 1 }
    }

    pub(crate) fn meta(&self, key: &str) -> String {
        // Ids are 64 characters and names are short: one call is enough but for strange hosts.
        let mut value = vec![0; 256];
        loop {
            // SAFETY: the host reads `key.len()` bytes at `key` and writes at most `value.len()` at `value`.
            let len = unsafe { import::meta(key.as_ptr(), key.len(), value.as_mut_ptr(), value.len()) };
            let Ok(len) = usize::try_from(len) else { return String::new() };
            if len <= value.len() {
                value.truncate(len);
                return String::from_utf8(value).unwrap_or_default();
            }
            value.resize(len, 0);
        }
    }

    pub(crate) fn input_dir(&self) -> &Path {
        Path::new(abi::INPUT_DIR)
    }

    pub(crate) fn output_dir(&self) -> &Path {
        Path::new(abi::OUTPUT_DIR)
    }

    pub(crate) fn share(&self, name: &str) -> PathBuf {
        Path::new(abi::SHARE_DIR).join(name)
    }
}
