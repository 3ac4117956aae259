//! What the exit codes of `mesh` mean. `mesh run` passes on a task's own code from 0 to 125.
// spec: SBX-3, CLI-1

/// Done.
pub(crate) const OK: u8 = 0;
/// `mesh verify`: the run differs from its receipt, or the receipt is not sound. Other verbs: failed.
pub(crate) const FAILED: u8 = 1;
// 2 is clap's, for a wrong command line.
/// `mesh verify`: this receipt's run need not be repeatable.
pub(crate) const NOT_COMPARABLE: u8 = 3;
/// `mesh run` and `mesh submit`: the module or the request was refused; nothing ran.
pub(crate) const REFUSED: u8 = 126;
/// `mesh run`: the task trapped.
pub(crate) const TRAPPED: u8 = 127;
/// `mesh run`: the task used up its fuel.
pub(crate) const OUT_OF_FUEL: u8 = 128;
/// `mesh run`: the task used up its duration.
pub(crate) const TIMED_OUT: u8 = 129;
/// `mesh run`: the task was cancelled (Ctrl-C).
pub(crate) const CANCELLED: u8 = 130;
/// `mesh run`: the task was refused memory and gave up.
pub(crate) const MEMORY_EXCEEDED: u8 = 131;
/// `mesh run`: the task wrote more than allowed.
pub(crate) const OUTPUT_EXCEEDED: u8 = 132;
/// `mesh run`: the sandbox failed; this says nothing about the task.
pub(crate) const SANDBOX_CRASHED: u8 = 133;
/// `mesh run`: nobody read the task's output any more, so it was ended; as of a program ended by SIGPIPE.
pub(crate) const READER_GONE: u8 = 141;
/// `mesh run`: `mesh` itself failed: a file that cannot be read or written.
pub(crate) const OWN_FAILURE: u8 = 134;
/// `mesh submit --follow` and `--wait`: the task failed: no peer brought it to an end.
pub(crate) const NOT_DONE: u8 = 135;
/// Any verb that speaks to the node: it is not running. Above all codes of a task's own, so that neither is taken for
/// the other.
pub(crate) const NODE_NOT_RUNNING: u8 = 136;
/// `mesh submit --follow` and `--wait`: left by Ctrl-C; the task goes on.
pub(crate) const DETACHED: u8 = 138;
