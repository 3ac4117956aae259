//! How a task fails, and which exit code says so.

use std::fmt;

/// What a task, and most calls of this crate, return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a task ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The work itself failed. Exit code 1.
    Failed,
    /// The input is not what the task reads: trying again elsewhere will not help. Exit code 65.
    InvalidInput,
    /// The host asked the task to stop, and it did, before it had a result. Exit code 75.
    Stopped,
}

impl ErrorKind {
    /// The exit code that tells this outcome: 1, 65 or 75 (the last two as in `sysexits.h`).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::InvalidInput => 65,
            Self::Stopped => 75,
        }
    }
}

/// An error of a task: a kind and a message for a person.
///
/// Every [`std::error::Error`] turns into one of kind [`ErrorKind::Failed`] with `?`, its sources told after it. For
/// that reason this type does not implement [`std::error::Error`] itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// The work itself failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, message: message.into() }
    }

    /// The input is not what the task reads: exit code 65.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, message: message.into() }
    }

    /// The task ends because [`Context::should_stop`](crate::Context::should_stop) said so: exit code 75.
    pub fn stopped(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Stopped, message: message.into() }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, as written to stderr.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The same as `Display`, for a test's `unwrap` and for `main() -> Result`, with the kind.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            // Many errors repeat their source in their own text.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = inner.source();
        }
        Self { kind: ErrorKind::Failed, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SDK-1
    #[test]
    fn any_error_converts_with_its_sources() {
        fn fails() -> Result<u32> {
            Ok("seven".parse::<u32>()?)
        }
        let error = fails().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert_eq!(error.message(), "invalid digit found in string");
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        let codes =
            [ErrorKind::Failed, ErrorKind::InvalidInput, ErrorKind::Stopped].map(ErrorKind::exit_code);
        assert_eq!(codes, [1, 65, 75]);
    }
}
