//! Bugs on purpose: what a node, a driver or a store could get wrong, so that it is known that the checks would see it.

use mesh_node::Misbehaviour;

/// A bug that the simulator can switch on, in every honest peer at once.
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
    /// The end of the own log is gone after a crash, and nobody is asked for it before its numbers are given again.
    ReusesSequenceNumbers,
    /// The result of an attempt that does not count any more has its effect.
    TakesStaleResults,
    /// A donor runs what it has heard to be over.
    RunsFencedAttempts,
    /// A donor runs for whoever asks.
    SkipsTheGrantCheck,
    /// What follows a fork counts.
    CountsForkedLogs,
    /// A donor does not count the tasks of a day.
    SkipsTheQuotaCheck,
    /// A donor starts anything on any energy.
    IgnoresEnergy,
    /// A result is believed whoever signed it.
    BelievesUnsignedResults,
    /// A grant holds on after it was taken back.
    IgnoresRevocations,
    /// A donor lets tasks run on when their lease has ended.
    ForgetsLeases,
    /// Votes count as of the date that they claim.
    BelievesClaimedDates,
    /// A donor believes what a submitter says was decided.
    BelievesClaimedTallies,
    /// Sun by night is believed.
    BelievesAnyEnergy,
    /// One member's word lets anybody in.
    OneSponsorIsEnough,
    /// Nothing bounds how often a waiting task is passed over.
    LetsTasksStarve,
    /// Tasks wait for votes and energy, whatever their deadline.
    ForgetsDeadlines,
    /// A second attempt has the first one's number.
    ReusesAttemptNumbers,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::SendsBeforeItPersists,
        Self::LosesTheSubmission,
        Self::LosesTheAttempt,
        Self::LosesOwnEntries,
        Self::ReusesSequenceNumbers,
        Self::TakesStaleResults,
        Self::RunsFencedAttempts,
        Self::SkipsTheGrantCheck,
        Self::CountsForkedLogs,
        Self::SkipsTheQuotaCheck,
        Self::IgnoresEnergy,
        Self::BelievesUnsignedResults,
        Self::IgnoresRevocations,
        Self::ForgetsLeases,
        Self::BelievesClaimedDates,
        Self::BelievesClaimedTallies,
        Self::BelievesAnyEnergy,
        Self::OneSponsorIsEnough,
        Self::LetsTasksStarve,
        Self::ForgetsDeadlines,
        Self::ReusesAttemptNumbers,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendsBeforeItPersists => "sends-before-it-persists",
            Self::LosesTheSubmission => "loses-the-submission",
            Self::LosesTheAttempt => "loses-the-attempt",
            Self::LosesOwnEntries => "loses-own-entries",
            Self::ReusesSequenceNumbers => "reuses-sequence-numbers",
            Self::TakesStaleResults => "takes-stale-results",
            Self::RunsFencedAttempts => "runs-fenced-attempts",
            Self::SkipsTheGrantCheck => "skips-the-grant-check",
            Self::CountsForkedLogs => "counts-forked-logs",
            Self::SkipsTheQuotaCheck => "skips-the-quota-check",
            Self::IgnoresEnergy => "ignores-energy",
            Self::BelievesUnsignedResults => "believes-unsigned-results",
            Self::IgnoresRevocations => "ignores-revocations",
            Self::ForgetsLeases => "forgets-leases",
            Self::BelievesClaimedDates => "believes-claimed-dates",
            Self::BelievesClaimedTallies => "believes-claimed-tallies",
            Self::BelievesAnyEnergy => "believes-any-energy",
            Self::OneSponsorIsEnough => "one-sponsor-is-enough",
            Self::LetsTasksStarve => "lets-tasks-starve",
            Self::ForgetsDeadlines => "forgets-deadlines",
            Self::ReusesAttemptNumbers => "reuses-attempt-numbers",
        }
    }

    /// What every honest node does then; none where the bug is the driver's, the store's or the rules'.
    pub(crate) fn misbehaviour(self) -> Option<Misbehaviour> {
        use Misbehaviour as M;
        Some(match self {
            Self::TakesStaleResults => M::TakesStaleResults,
            Self::RunsFencedAttempts => M::RunsFencedAttempts,
            Self::SkipsTheGrantCheck => M::SkipsTheGrantCheck,
            Self::CountsForkedLogs => M::CountsForkedLogs,
            Self::SkipsTheQuotaCheck => M::SkipsTheQuotaCheck,
            Self::IgnoresEnergy => M::IgnoresEnergy,
            Self::BelievesUnsignedResults => M::BelievesUnsignedResults,
            Self::IgnoresRevocations => M::IgnoresRevocations,
            Self::ForgetsLeases => M::ForgetsLeases,
            Self::BelievesClaimedDates => M::BelievesClaimedDates,
            Self::BelievesClaimedTallies => M::BelievesClaimedTallies,
            Self::BelievesAnyEnergy => M::BelievesAnyEnergy,
            Self::ForgetsDeadlines => M::ForgetsDeadlines,
            Self::ReusesAttemptNumbers => M::ReusesAttemptNumbers,
            Self::SendsBeforeItPersists
            | Self::LosesTheSubmission
            | Self::LosesTheAttempt
            | Self::LosesOwnEntries
            | Self::ReusesSequenceNumbers
            | Self::OneSponsorIsEnough
            | Self::LetsTasksStarve => return None,
        })
    }
}
