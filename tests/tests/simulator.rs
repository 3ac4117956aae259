//! Some seeds of the simulator, and that a seed means what it says. Many more: `cargo xtask sim`.

use mesh_tests::sim::{Options, run};
use std::sync::atomic::{AtomicU64, Ordering};

/// As many as take well under a minute in a debug build on two cores.
const SEEDS: u64 = 60;

// spec: DEL-10, DEL-11, DEL-12, DEL-13, DEL-14, LED-3, LED-4, LED-5
#[test]
fn what_must_hold_holds_whatever_fails() {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let report = run(seed, &Options::default());
                    if let Some(broken) = report.broken {
                        // Nobody needs to wait for the others.
                        next.store(SEEDS, Ordering::Relaxed);
                        panic!(
                            "seed {seed} after {} ms: {}: {}; `cargo xtask sim replay {seed}` shows how it came to that",
                            report.virtual_ms, broken.check, broken.what
                        );
                    }
                }
            });
        }
    });
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [3, 1_000_003] {
        let [first, second] = [(), ()].map(|()| run(seed, &Options::default()));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.log.len(), second.log.len());
        assert!(first.events > 1000, "seed {seed} did nothing to speak of");
    }
}
