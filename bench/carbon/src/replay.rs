//! Replays a trace hour by hour: a policy gets to know each value at its time only, and the carbon is that of what was
//! really there.
// spec: PLACE-4

/// What is run: so many hours of work, to be finished so many hours after arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) job_h: usize,
    pub(crate) deadline_h: usize,
}

/// How a workload was run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) carbon: f64,
    /// Starts and resumptions, of all jobs.
    pub(crate) segments: usize,
    pub(crate) misses: usize,
}

/// A job as a policy sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) arrival: usize,
    /// Hours of work left.
    pub(crate) left: usize,
    /// Hours to its deadline, this one included.
    pub(crate) slots: usize,
    /// Did it run in the hour before?
    pub(crate) runs: bool,
}

/// Runs each arrival's job in the hours in which `decide` says so. Nobody forces it: what is not done by its deadline
/// is a miss, and its rest runs after it.
pub(crate) fn replay(
    values: &[f64],
    arrivals: &[usize],
    class: Class,
    mut decide: impl FnMut(usize, Job) -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    for arrival in arrivals.iter().copied() {
        let (mut left, mut runs) = (class.job_h, false);
        let end = arrival + class.deadline_h;
        for (now, value) in values.iter().enumerate().take(end).skip(arrival) {
            let run = left > 0 && decide(now, Job { arrival, left, slots: end - now, runs });
            outcome.segments += usize::from(run && !runs);
            outcome.carbon += if run { *value } else { 0.0 };
            left -= usize::from(run);
            runs = run;
        }
        outcome.misses += usize::from(left > 0);
        outcome.carbon += values.iter().skip(end).take(left).sum::<f64>();
    }
    outcome
}

/// The clairvoyant optimum, interruptible.
pub(crate) fn optimum(values: &[f64], arrivals: &[usize], class: Class) -> f64 {
    let best = |arrival: &usize| {
        let mut window = values[*arrival..arrival + class.deadline_h].to_vec();
        window.sort_by(f64::total_cmp);
        window.iter().take(class.job_h).sum::<f64>()
    };
    arrivals.iter().map(best).sum()
}

/// The clairvoyant optimum in one piece.
pub(crate) fn optimum_contiguous(values: &[f64], arrivals: &[usize], class: Class) -> f64 {
    let best = |arrival: &usize| {
        let window = &values[*arrival..arrival + class.deadline_h];
        window.windows(class.job_h).map(|hours| hours.iter().sum::<f64>()).fold(f64::INFINITY, f64::min)
    };
    arrivals.iter().map(best).sum()
}
