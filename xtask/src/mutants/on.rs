//! Which mutant is on, and which were reached: a module of the crates that are broken on purpose, where `MUTANTS` stands
//! for the number of those of the crate.

use std::fs::File;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

static ON: LazyLock<(Option<usize>, Option<File>)> = LazyLock::new(|| {
    let trace = std::env::var_os("MUTANT_TRACE");
    let file = trace.map(|path| File::options().append(true).create(true).open(path).expect("the trace opens"));
    (std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()), file)
});
static REACHED: [AtomicBool; MUTANTS] = [const { AtomicBool::new(false) }; MUTANTS];

pub(crate) fn on(mutant: usize) -> bool {
    let (on, trace) = &*ON;
    if let Some(mut trace) = trace.as_ref()
        && !REACHED[mutant].swap(true, Ordering::Relaxed)
    {
        // In one write, so that nothing of two threads mixes.
        trace.write_all(format!("{mutant}\n").as_bytes()).expect("the trace is written");
    }
    *on == Some(mutant)
}
