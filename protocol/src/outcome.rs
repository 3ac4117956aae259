//! How a task can end. One closed list, shown with the same words everywhere.

use serde::{Deserialize, Serialize};

/// How a task ended.
// spec: SBX-8
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Outcome {
    /// It ran to its end or called exit, with this code (0 to 125).
    #[error("exited with code {0}")]
    Exited(u32),
    /// It did something wasm forbids.
    #[error("trapped: {0}")]
    Trapped(TrapKind),
    /// It used up its fuel.
    #[error("ran out of fuel")]
    OutOfFuel,
    /// It used up its duration.
    #[error("ran out of time")]
    TimedOut,
    /// It was refused memory and gave up.
    #[error("ran out of memory")]
    MemoryExceeded,
    /// It wrote more than allowed.
    #[error("wrote more than allowed to {0}")]
    OutputExceeded(Stream),
    /// It was told to end.
    #[error("cancelled")]
    Cancelled,
    /// It was not started.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The sandbox itself failed; the host did not. Says nothing about the task.
    #[error("the sandbox crashed: {0}")]
    SandboxCrashed(String),
}

/// An output stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Stream {
    /// Standard output.
    #[error("stdout")]
    Stdout,
    /// Standard error.
    #[error("stderr")]
    Stderr,
}

/// What the guest did to be stopped by the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TrapKind {
    /// `unreachable`: also how a panic or an abort ends.
    #[error("unreachable code (a panic or abort ends so)")]
    Unreachable,
    /// The call stack is full. Depends on the machine, so it is never a result.
    #[error("stack overflow")]
    StackOverflow,
    /// Read or wrote outside its memory.
    #[error("memory access out of bounds")]
    MemoryOutOfBounds,
    /// Reached outside a table.
    #[error("table access out of bounds")]
    TableOutOfBounds,
    /// Called an empty table slot.
    #[error("call of an empty table slot")]
    IndirectCallToNull,
    /// Called a function of another type.
    #[error("indirect call of a function of another type")]
    BadSignature,
    /// Divided an integer by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// An integer overflowed where wasm forbids it.
    #[error("integer overflow")]
    IntegerOverflow,
    /// Turned a number that is none or too large into an integer.
    #[error("invalid conversion to integer")]
    BadConversion,
    /// Exited with a status above 125, which WASI leaves to the host.
    #[error("exit status above 125")]
    BadExitStatus,
    /// Gave a host call an argument that ends a task: a bad pointer, too much random data, a forged handle.
    #[error("misuse of a host call")]
    HostCall,
    /// Any other trap of the engine.
    #[error("another trap")]
    Other,
}

/// Why a task was not started.
// spec: SBX-1, SBX-10
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a module of a kind that runs; says what they look like.
    #[error("not a wasm module: {0}")]
    NotWasm(String),
    /// The module breaks a rule of wasm or of WASI commands.
    #[error("invalid module: {0}")]
    Invalid(String),
    /// It uses a wasm feature that is switched off.
    #[error("unsupported wasm feature: {0}")]
    Feature(String),
    /// A structure is larger than allowed.
    #[error("the module has {actual} {what}, at most {limit} are allowed")]
    TooLarge {
        /// What is counted.
        what: String,
        /// How many there are.
        actual: u64,
        /// How many there may be.
        limit: u64,
    },
    /// It imports what nobody offers.
    #[error("unknown imports: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// It needs what it was not granted.
    #[error("{what} was not granted; add {line:?} to {place}")]
    NotGranted {
        /// What the module asks for.
        what: String,
        /// The line that would grant it.
        line: String,
        /// Where the line belongs.
        place: String,
    },
    /// Its manifest cannot be read.
    #[error("{0}")]
    Manifest(String),
    /// Compiling failed or took too much.
    #[error("compile the module: {0}")]
    Compile(String),
    /// Its input is larger than allowed.
    #[error("the input has {actual} bytes, at most {limit} are allowed")]
    InputTooLarge {
        /// Bytes given.
        actual: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Its first memory or tables are larger than its limit.
    #[error("it starts with {actual} bytes of memory and tables, at most {limit} are allowed")]
    MemoryTooLarge {
        /// Bytes it starts with.
        actual: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The checkpoint does not belong to this task, module, input or engine, or is damaged.
    #[error("resume from the checkpoint: {0}")]
    Checkpoint(String),
    /// The request itself is out of bounds: too many arguments, a bad name, a limit out of range.
    #[error("{0}")]
    Request(String),
}

impl Outcome {
    /// Did the task itself decide how to end, so that any peer must see the same?
    // spec: SBX-13
    pub fn is_conclusive(&self) -> bool {
        match self {
            Self::Exited(_) | Self::OutOfFuel | Self::MemoryExceeded | Self::OutputExceeded(_) => true,
            Self::Trapped(kind) => *kind != TrapKind::StackOverflow,
            Self::TimedOut | Self::Cancelled | Self::Refused(_) | Self::SandboxCrashed(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-13
    #[test]
    fn what_depends_on_the_machine_is_no_result() {
        assert!(Outcome::Exited(3).is_conclusive());
        assert!(Outcome::Trapped(TrapKind::DivisionByZero).is_conclusive());
        assert!(!Outcome::Trapped(TrapKind::StackOverflow).is_conclusive());
        assert!(!Outcome::TimedOut.is_conclusive());
        assert!(!Outcome::SandboxCrashed(String::new()).is_conclusive());
    }

    // spec: SBX-8, ARC-6
    #[test]
    fn outcomes_have_fixed_bytes() {
        let bytes = |outcome: &Outcome| crate::ids::to_hex(&crate::canonical::encode(outcome));
        assert_eq!(bytes(&Outcome::Exited(7)), "0007");
        assert_eq!(bytes(&Outcome::Trapped(TrapKind::MemoryOutOfBounds)), "0102");
        assert_eq!(bytes(&Outcome::OutOfFuel), "02");
        assert_eq!(bytes(&Outcome::TimedOut), "03");
        assert_eq!(bytes(&Outcome::MemoryExceeded), "04");
        assert_eq!(bytes(&Outcome::OutputExceeded(Stream::Stderr)), "0501");
        assert_eq!(bytes(&Outcome::Cancelled), "06");
        assert_eq!(bytes(&Outcome::Refused(Refusal::NotWasm("x".into()))), "07000178");
        assert_eq!(bytes(&Outcome::SandboxCrashed("x".into())), "080178");
    }
}
