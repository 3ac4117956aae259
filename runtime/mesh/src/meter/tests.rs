use super::*;
use mesh_protocol::ids::TaskId;
use std::fs;
use std::path::Path;

const ID: AttemptId = AttemptId { task: TaskId([1; 32]), attempt: 1 };

fn zone(root: &Path, folder: &str, name: &str, energy_uj: u64) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("name"), format!("{name}\n")).unwrap();
    fs::write(folder.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
    fs::write(folder.join("max_energy_range_uj"), "262143328850\n").unwrap();
}

// spec: PLACE-1, SLA-4
#[test]
fn a_slot_draws_its_part_of_the_processor_in_whole_watts() {
    let of = |watts, threads| Place { counters: "/nowhere".into(), proc: "/nowhere".into(), watts, threads };
    for (watts, threads, slots, each) in [
        (Some(64), 8, 1, 64),
        (Some(64), 8, 4, 16),
        (Some(64), 8, 3, 21),
        (Some(64), 8, 100, 8),
        (None, 16, 1, 64),
        (None, 16, 16, 4),
        (Some(1), 64, 64, 1),
        (Some(100), 4, 0, 100),
    ] {
        let found = whole_watts(of(watts, threads).watts_per_slot(slots));
        assert_eq!(found, each, "{watts:?} W, {threads} threads, {slots} slots");
    }
    assert_eq!((whole_watts(f64::MAX), whole_watts(f64::NAN)), (10_000, 0));
}

fn since(write: impl Fn(&Path, bool)) -> Option<u64> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), false);
    let before = Counters::read(folder.path());
    write(folder.path(), true);
    Counters::read(folder.path()).since(&before)
}

// spec: CO2-1
#[test]
fn only_packages_count_and_each_once() {
    let used = since(|root, later| {
        let more = u64::from(later);
        zone(root, "intel-rapl:0", "package-0", 1000 + 50 * more);
        zone(root, "intel-rapl:0:0", "core", 500 + 30 * more);
        zone(root, "intel-rapl:1", "package-1", 7000 + 3 * more);
        zone(root, "intel-rapl:2", "psys", 9000 + 90 * more);
        zone(root, "intel-rapl-mmio:0", "package-0", 1000 + 50 * more);
    });
    assert_eq!(used, Some(53));
}

// spec: CO2-1
#[test]
fn a_counter_that_went_round_goes_on() {
    let used = since(|root, later| {
        zone(root, "intel-rapl:0", "package-0", if later { 40 } else { 262_143_328_850 - 10 });
    });
    assert_eq!(used, Some(50));
}

// spec: CO2-1
#[test]
fn what_cannot_be_read_is_not_nothing() {
    assert_eq!(since(|_, _| {}), None);
    let late = since(|root, later| {
        if later {
            zone(root, "intel-rapl:0", "package-0", 50);
        }
    });
    assert_eq!(late, None, "a counter that has just become readable says nothing of before");
    // Only root may read it: a folder in its place fails whoever asks, root included.
    let forbidden = since(|root, later| {
        zone(root, "intel-rapl:0", "package-0", 5);
        let file = root.join("intel-rapl:0/energy_uj");
        if later {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }
    });
    assert_eq!(forbidden, None);
}

// spec: CO2-1
#[test]
fn a_task_has_its_part_of_the_package() {
    let second = Duration::from_secs(1);
    assert_eq!(part(60_000_000, 500_000, 2_000_000, second), Some(15_000_000), "a quarter of 60 J");
    assert_eq!(part(60_000_000, 3_000_000, 2_000_000, second), Some(60_000_000), "never more than all");
    assert_eq!(part(60_000_000, 1, 0, second), None);
    assert_eq!(part(60_000, 1, 10_000, Duration::from_millis(1)), None, "too short to tell");
    assert_eq!(part(60_000_000, 1, 10, Duration::from_secs(3600)), None, "it may have gone round");
    assert_eq!(part(53_130_000_000, 1, 10, second), None, "53 kW are no processor");
}

fn place(folder: &Path, watts: Option<u32>) -> Place {
    Place { counters: folder.join("powercap"), proc: folder.join("proc"), watts, threads: 4 }
}

fn proc(folder: &Path, busy: u64, ticks: u64) {
    let process = folder.join("proc/77");
    fs::create_dir_all(&process).unwrap();
    fs::write(folder.join("proc/stat"), format!("cpu  {busy} 0 0 999 9 0 0 0 0 0\ncpu0 1 1\n")).unwrap();
    fs::write(process.join("stat"), format!("77 (a) b) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0\n")).unwrap();
}

// spec: CO2-1
#[test]
fn without_counters_energy_is_modelled_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    proc(folder.path(), 100, 50);
    for (watts, joules, uncertainty) in [(None, 8, 75), (Some(60), 30, 40)] {
        let meter = Meter::new(place(folder.path(), watts));
        meter.begin(ID, 77, 1000);
        // Two seconds of CPU time: of a thread of 4 W, or of a quarter of 60 W.
        let usage = Usage { cpu_us: 2_000_000, ..Usage::default() };
        let metering = meter.end(ID, Some(&usage), 4000).unwrap();
        assert_eq!((metering.how, metering.uncertainty_percent), (How::Modelled, uncertainty));
        assert_eq!(metering.samples, [Sample { from_ms: 1000, ms: 3000, energy_mj: joules * 1000 }]);
        assert!(!metering.estimated);
        assert_eq!(meter.end(ID, Some(&usage), 4000), None, "once");
    }
}

// spec: CO2-1, DEL-13
#[test]
fn what_a_killed_worker_did_not_report_is_the_last_reading_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    proc(folder.path(), 100, 50);
    let meter = Meter::new(place(folder.path(), None));
    meter.begin(ID, 77, 0);
    proc(folder.path(), 400, 350);
    let (_, read) = meter.sample(3000).remove(0);
    assert_eq!(read.samples, [Sample { from_ms: 0, ms: 3000, energy_mj: 12_000 }], "3 s at 4 W");
    let killed = Usage { estimated: true, ..Usage::default() };
    let metering = meter.end(ID, Some(&killed), 9000).unwrap();
    assert_eq!((metering.samples, metering.estimated), (read.samples, true));
    meter.begin(ID, 78, 0);
    let unknown = meter.end(ID, None, 10).unwrap();
    assert_eq!((unknown.how, unknown.samples.len()), (How::Unmeasured, 0));
}

// spec: CO2-1
#[test]
fn with_counters_energy_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let zone = |energy| zone(&folder.path().join("powercap"), "intel-rapl:0", "package-0", energy);
    zone(1_000_000);
    proc(folder.path(), 100, 50);
    let meter = Meter::new(place(folder.path(), None));
    meter.begin(ID, 77, 0);
    // Time must pass for a counter to be believed.
    std::thread::sleep(SHORTEST);
    zone(3_000_000);
    proc(folder.path(), 300, 100);
    let (_, metering) = meter.sample(100).remove(0);
    assert_eq!((metering.how, metering.uncertainty_percent), (How::Measured, 20));
    assert_eq!(metering.samples[0].energy_mj, 500, "a quarter of the busy time, of 2 J");
}
