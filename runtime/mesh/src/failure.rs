//! How a command fails: what was tried, what went wrong, and how to mend it.
// spec: ARC-8, CLI-5

use crate::exit_codes;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
    /// Did the node understand what was asked, and not do it?
    refused: bool,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// `message` fits after "failed to".
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: exit_codes::FAILED, refused: false }
    }

    /// With an error and all its causes.
    pub(crate) fn because(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let mut message = what.into();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let _infallible = write!(message, ": {error}");
            cause = error.source();
        }
        Self::new(message)
    }

    /// Reading or writing a file failed.
    pub(crate) fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::because(format!("{what} {}", path.display()), error);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                failure.hint("check the path; it is read from the current folder")
            }
            std::io::ErrorKind::PermissionDenied => {
                failure.hint("check the rights of the file and its folders")
            }
            std::io::ErrorKind::IsADirectory => failure.hint("name a file in that folder"),
            std::io::ErrorKind::StorageFull => failure.hint("free some space on that disk"),
            _ => failure,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The node understood what was asked, and did not do it.
    pub(crate) fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// With another exit code if the node refused.
    pub(crate) fn if_refused(self, code: u8) -> Self {
        if self.refused { self.code(code) } else { self }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.code
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", mesh_protocol::text::sanitise(&self.message, true))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", mesh_protocol::text::sanitise(hint, true)),
            None => Ok(()),
        }
    }
}
