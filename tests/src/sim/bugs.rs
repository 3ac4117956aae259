//! Bugs on purpose: what a driver or a store could get wrong, so that it is known that the checks would see it.

/// A bug that the simulator can switch on without touching the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What a round says leaves before its records are durable.
    SendsBeforeItPersists,
    /// Records of tasks are not written.
    LosesTheSubmission,
    /// Records of attempts are not written.
    LosesTheAttempt,
    /// Entries of the own log are not written.
    LosesOwnEntries,
    /// The end of the own log is gone after a crash, and nobody is asked for it.
    TrustsItsLogAfterACrash,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SendsBeforeItPersists,
        Self::LosesTheSubmission,
        Self::LosesTheAttempt,
        Self::LosesOwnEntries,
        Self::TrustsItsLogAfterACrash,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendsBeforeItPersists => "sends-before-it-persists",
            Self::LosesTheSubmission => "loses-the-submission",
            Self::LosesTheAttempt => "loses-the-attempt",
            Self::LosesOwnEntries => "loses-own-entries",
            Self::TrustsItsLogAfterACrash => "trusts-its-log-after-a-crash",
        }
    }
}
