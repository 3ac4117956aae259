//! `mesh run`: one task, here and now.
// spec: SBX-3, CLI-4, CLI-5

use super::receipt_file;
use super::screen::{Passed, Screen};
use crate::args::Run;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home::{self, Home};
use mesh_executor::{Control, Event, LoadedModule, OutTree, Report, Share, Stdin, Task};
use mesh_protocol::checkpoint::Checkpoint;
use mesh_protocol::limits::{Limits, MAX_CHECKPOINT};
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::text::sanitise;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn run(run: &Run) -> Result<u8> {
    let (path, args) = run.split().unwrap_or_else(|error| error.exit());
    let executor = super::executor()?;
    if run.dirs.is_empty() {
        // The worker gets ready while the module is read and looked up.
        executor.warm_up().map_err(|error| super::start_failure(&error))?;
    }
    let module = super::load(&executor, path)?;
    let task = task(run, args, module)?;
    // Before anything runs: a receipt that cannot be signed is no use afterwards.
    let key = run.receipt.is_some().then(home::device_key).transpose()?;
    check_place(run.receipt.as_deref())?;
    check_place(run.checkpoint.as_deref())?;
    if let Some(folder) = &run.out {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("make the folder", folder, &error))?;
    }
    let mut running = executor.start(task).map_err(|error| super::start_failure(&error))?;
    listen(running.control())?;
    let mut screen = Screen::new(run.quiet);
    let mut out = Passed::new(io::stdout());
    let mut err = Passed::new(io::stderr());
    let mut reader_gone = false;
    let mut trouble = None;
    let mut report = None;
    while let Some(event) = running.next() {
        match event {
            Event::Stdout(bytes) if !reader_gone => {
                let written = screen.aside(|| out.write(&bytes));
                if let Err(error) = written {
                    // Nobody reads on: nothing more is worth computing.
                    reader_gone = true;
                    running.control().cancel();
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        trouble = Some(Failure::because("write the task's output", &error));
                    }
                }
            }
            Event::Stderr(bytes) => {
                let _nobody_reads = screen.aside(|| err.write(&bytes));
            }
            Event::Progress(permille, note) => screen.progress(permille, &note),
            Event::Log(level, text) => screen.log(level, &text),
            Event::Checkpoint(checkpoint) => {
                if let Some(path) = &run.checkpoint
                    && let Err(error) =
                        receipt_file::write_whole(path, &checkpoint.encode(), receipt_file::PRIVATE)
                {
                    trouble.get_or_insert_with(|| Failure::file("write the checkpoint", path, &error));
                    running.control().cancel();
                }
            }
            Event::Ended(ended) => report = Some(ended),
            _ => {}
        }
    }
    screen.clear();
    let report = report.ok_or_else(|| Failure::new("run the task: its supervisor ended without a word"))?;
    if reader_gone && trouble.is_none() && report.outcome == Outcome::Cancelled {
        // Half a result is none: nothing is put in place.
        return Ok(exit_codes::READER_GONE);
    }
    let code = finish(run, path, &report, key.as_ref())?;
    match trouble {
        Some(trouble) => Err(trouble),
        None => Ok(code),
    }
}

/// Fails early where the result could not be written later.
fn check_place(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    if path.is_dir() {
        return Err(
            Failure::new(format!("write {}: it is a folder", path.display())).hint("name a file in it")
        );
    }
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Failure::new(format!("write {}: there is no folder {}", path.display(), folder.display()))
        .hint(format!("mkdir -p {}", folder.display())))
}

fn task(run: &Run, args: &[String], module: LoadedModule) -> Result<Task> {
    let asked = module.manifest.clone();
    let mut limits = asked.limits.clone();
    let no_files = run.out.is_none() && run.given.inputs.is_empty() && run.shares.is_empty();
    if module.summary.manifest.is_none() && (no_files || (run.out.is_none() && !run.dirs.is_empty())) {
        // A program that knows nothing of tasks finds what the flags name, and no folder that it did not expect.
        (limits.out_bytes, limits.out_files) = (0, 0);
    }
    override_limits(&mut limits, run);
    // The user at the keyboard is donor, grantor and submitter in one: flags are the whole policy.
    // spec: SBX-10
    let given = Permissions {
        inputs: asked.permissions.inputs.clone(),
        shares: run.shares.iter().map(|share| (share.name.clone(), share.access)).collect(),
        env: asked.permissions.env.clone(),
        real_clock: run.real,
        real_random: run.real,
        http: Default::default(),
    };
    let mut wished = asked.permissions.clone();
    wished.real_clock |= run.real;
    wished.real_random |= run.real;
    let granted = wished.narrow(&given);
    if let Some((name, access)) =
        asked.permissions.shares.iter().find(|(name, _)| !granted.shares.contains_key(*name))
    {
        let suffix = if *access == mesh_protocol::permissions::Access::Rw { ":rw" } else { "" };
        return Err(Failure::new(format!(
            "start the task: refused: it needs the share {name:?}, which was not granted"
        ))
        .hint(format!("add --share {name}=FOLDER{suffix}"))
        .code(exit_codes::REFUSED));
    }
    let mut task = Task::new(module);
    task.limits = limits;
    task.granted = granted;
    task.args = args.to_vec();
    task.env = run.env.iter().cloned().collect();
    task.stdin = match super::open_input(&run.given)? {
        Some(stdin) => stdin,
        None => own_stdin(task.limits.input_bytes),
    };
    task.inputs.clone_from(&run.given.inputs);
    task.shares.clone_from(&run.shares);
    task.dirs.clone_from(&run.dirs);
    task.checkpoints = run.checkpoint.is_some();
    if let Some(path) = &run.resume {
        task.resume = Some(read_checkpoint(path)?);
    }
    Ok(task)
}

fn override_limits(limits: &mut Limits, run: &Run) {
    if let Some(duration) = run.duration {
        limits.duration_ms = duration;
        limits.fuel = Limits::fuel_for(duration);
    }
    let set = |target: &mut u64, value: Option<u64>| *target = value.unwrap_or(*target);
    set(&mut limits.fuel, run.fuel);
    set(&mut limits.memory_bytes, run.memory);
    set(&mut limits.input_bytes, run.input_limit);
    set(&mut limits.stdout_bytes, run.stdout_limit);
    set(&mut limits.stderr_bytes, run.stderr_limit);
    set(&mut limits.out_bytes, run.out_limit);
    limits.out_files = run.out_files.unwrap_or(limits.out_files);
}

/// Our own standard input: a file is known whole before the start, anything else is read as the task asks for it.
fn own_stdin(limit: u64) -> Stdin {
    let stdin = io::stdin();
    let Ok(copy) = stdin.as_fd().try_clone_to_owned() else { return Stdin::Empty };
    let file = File::from(copy);
    match file.metadata() {
        Ok(meta) if meta.is_file() => match rest_of(&file, limit) {
            Ok(Some(bytes)) => Stdin::Bytes(bytes),
            _ => Stdin::File(file),
        },
        Ok(meta) if is_null(&meta) => Stdin::Empty,
        Ok(_) => Stdin::Stream(Box::new(file)),
        Err(_) => Stdin::Empty,
    }
}

/// The null device, which is known whole before the start: it holds nothing.
fn is_null(meta: &std::fs::Metadata) -> bool {
    let null = std::fs::metadata("/dev/null");
    meta.file_type().is_char_device() && null.is_ok_and(|null| null.rdev() == meta.rdev())
}

/// What is left of a file that someone has begun to read already; none if it stands at its beginning.
fn rest_of(file: &File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = file;
    if io::Seek::stream_position(&mut file)? == 0 {
        return Ok(None);
    }
    // One more than allowed is enough to be refused.
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let failed = |error: io::Error| Failure::file("read the checkpoint", path, &error);
    let mut bytes = Vec::new();
    // State, streams and files may each have that much.
    File::open(path).map_err(failed)?.take(4 * MAX_CHECKPOINT).read_to_end(&mut bytes).map_err(failed)?;
    Checkpoint::decode(&bytes).map_err(|error| {
        Failure::because(format!("resume from {}: refused", path.display()), &error)
            .hint("name a file written by --checkpoint")
            .code(exit_codes::REFUSED)
    })
}

/// How long we may take to end after we were told to, should whoever reads our output not read on.
const LAST: Duration = Duration::from_secs(2);

/// Whoever tells us twice within this, or has two programs tell us, means it once: the receipt is still written.
const ONCE: Duration = Duration::from_millis(300);

/// Ctrl-C ends the task, and at the second time us too; Ctrl-Z holds it. What was ignored before we came, as by nohup,
/// stays ignored.
// spec: SBX-7
fn listen(control: Control) -> Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT]
        .into_iter()
        .filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted).map_err(|error| Failure::because("listen for Ctrl-C", &error))?;
    let listener = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut told: Option<Instant> = None;
        for signal in signals.forever() {
            match signal {
                SIGTSTP => {
                    control.pause();
                    // Our other threads may run on for a moment, so going on is left to the signal that says so.
                    let pid = rustix::process::getpid();
                    let _stopped = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
                }
                SIGCONT => control.resume(),
                _ if told.is_some_and(|first| first.elapsed() < ONCE) => {}
                // Workers end with us.
                _ if told.is_some() => std::process::exit(exit_codes::CANCELLED.into()),
                _ => {
                    told = Some(Instant::now());
                    control.cancel();
                    std::thread::spawn(|| {
                        std::thread::sleep(LAST);
                        std::process::exit(exit_codes::CANCELLED.into());
                    });
                }
            }
        }
    });
    listener.map(|_| ()).map_err(|error| Failure::because("listen for Ctrl-C", &error))
}

/// Signals that whoever started us had ignored, as a set of bits.
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Puts in place what the task left, and says how it ended. One thing that cannot be put in place does not keep back
/// the others.
fn finish(
    run: &Run,
    module: &Path,
    report: &Report,
    key: Option<&mesh_protocol::key::SecretKey>,
) -> Result<u8> {
    let mut failure = None;
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            match failure {
                None => failure = Some(error),
                Some(_) => crate::say!("{error}"),
            }
        }
    };
    if let (Some(path), Some(key)) = (&run.receipt, key) {
        note(receipt_file::write(path, &report.receipt.clone().sign(key)));
    }
    match (&run.out, &report.out) {
        (Some(folder), Some(out)) => note(collect(folder, out)),
        (None, Some(out)) if !out.is_empty() => {
            crate::say!("warning: the task left {} files in /out, which were dropped", out.len());
            crate::say!("hint: add --out FOLDER to keep them");
        }
        _ => {}
    }
    if report.outcome == Outcome::Exited(0) {
        for (number, share) in (0..).zip(&run.shares) {
            if share.access == mesh_protocol::permissions::Access::Rw
                && let Some(Some(tree)) = report.shares.get(usize::from(number))
            {
                note(put_in_place(number, share, tree));
            }
        }
    }
    let code = tell(run, module, report);
    failure.map_or(Ok(code), Err)
}

fn put_in_place(number: u16, share: &Share, tree: &OutTree) -> Result<()> {
    // Whatever another process of this number left there is over.
    let held = Home::find()?.data().join("releases").join(format!("run-{}-{number}", std::process::id()));
    let done =
        tree.hold(number, &share.path, &held).and_then(|()| mesh_executor::release(&held, &share.path));
    if done.is_err() {
        let _nobody_tries_again = std::fs::remove_dir_all(&held);
    }
    done.map(|_| ())
        .map_err(|error| Failure::because(format!("put the share {:?} in place", share.name), &error))
}

fn collect(folder: &Path, out: &OutTree) -> Result<()> {
    let left_out =
        out.write_to(folder).map_err(|error| Failure::because("collect the task's files", &error))?;
    for path in left_out {
        crate::say!(
            "warning: the link {:?} was left out: it points outside its folder",
            sanitise(&path, false)
        );
    }
    Ok(())
}

/// Says on stderr how it ended, if not well, and gives the exit code.
fn tell(run: &Run, module: &Path, report: &Report) -> u8 {
    let (usage, limits) = (&report.receipt.usage, &report.receipt.limits);
    let detail: String = report.detail.lines().map(|line| format!("\n  {line}")).collect();
    let (code, more, hint) = match &report.outcome {
        Outcome::Exited(code) => {
            if *code != 0 {
                tell_missed(run, report);
            }
            return u8::try_from(*code).unwrap_or(exit_codes::TRAPPED);
        }
        Outcome::Trapped(_) => (exit_codes::TRAPPED, detail, ""),
        Outcome::OutOfFuel => (
            exit_codes::OUT_OF_FUEL,
            format!(" ({} of {} units used)", usage.fuel, limits.fuel),
            "raise --fuel or --duration; `mesh profile` measures what it needs",
        ),
        Outcome::TimedOut => (
            exit_codes::TIMED_OUT,
            format!(" ({} ms of {} ms used)", usage.wall_ms, limits.duration_ms),
            "raise --duration",
        ),
        Outcome::MemoryExceeded => (
            exit_codes::MEMORY_EXCEEDED,
            format!(
                " ({} of {} in use when it was refused more)",
                super::human(usage.peak_memory),
                super::human(limits.memory_bytes)
            ),
            "raise --memory, or [limits] memory in its task.toml",
        ),
        Outcome::OutputExceeded(_) => (
            exit_codes::OUTPUT_EXCEEDED,
            String::new(),
            "raise --stdout-limit or --stderr-limit, or write files to /out",
        ),
        Outcome::Cancelled => (exit_codes::CANCELLED, String::new(), ""),
        Outcome::Refused(_) => {
            (exit_codes::REFUSED, String::new(), "raise --input-limit, or [limits] input in its task.toml")
        }
        Outcome::SandboxCrashed(_) => (
            exit_codes::SANDBOX_CRASHED,
            String::new(),
            "this says nothing about the task; `mesh doctor` checks the sandbox",
        ),
    };
    crate::say!(
        "error: {}: {}{more}",
        super::program_name(module),
        sanitise(&report.outcome.to_string(), false)
    );
    if !hint.is_empty() {
        crate::say!("hint: {hint}");
    }
    if report.outcome != Outcome::Cancelled {
        tell_missed(run, report);
    }
    code
}

/// Says which files it looked for in vain, with what would give them.
// spec: SBX-10
fn tell_missed(run: &Run, report: &Report) {
    let given_nothing = report.receipt.limits.out_bytes == 0
        && run.given.inputs.is_empty()
        && run.dirs.is_empty()
        && run.shares.is_empty();
    if report.missed.is_empty() && given_nothing && report.wants_files {
        crate::say!("note: the task can open files and was given none");
        crate::say!(
            "hint: add --in NAME=FILE (it reads /in/NAME), --out FOLDER (it writes to /out), or --dir FOLDER::/"
        );
    }
    for path in &report.missed {
        crate::say!("note: the task looked for {path}, which it was not given");
        match (path.strip_prefix("/in/"), path.strip_prefix("/share/")) {
            (Some(name), _) => crate::say!("hint: add --in {name}=FILE"),
            (None, Some(name)) => crate::say!(
                "hint: add --share {name}=FOLDER, and shares = {{ {name} = \"ro\" }} under [permissions] in its task.toml"
            ),
            (None, None) => crate::say!(
                "hint: add --in NAME=FILE and read /in/NAME, or --dir FOLDER::/ to show it a folder of yours"
            ),
        }
    }
}
