//! Builds a crate with all its mutants in it, sees which test reaches which, and turns on one after the other.

use super::Set;
use super::switch::{Mutant, Switched, module, switch};
use crate::run::{Repo, say, took};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A mutant that allocates for ever shall not take the whole machine with it; no test needs a tenth of this.
const MOST_KB: u32 = 4_000_000;
/// A mutant that hangs was noticed: what takes ten times as long, and this for a machine that is busy otherwise, hangs.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of the mutants, by name.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) noticed: Vec<String>,
    pub(super) missed: Vec<String>,
    /// What the compiler refuses.
    pub(super) unbuilt: Vec<String>,
    /// What no switch can turn on.
    pub(super) unswitched: Vec<String>,
}

pub(super) fn run(repo: &Repo, set: &Set, one_of: u64) -> Result<Outcome> {
    let begun = Instant::now();
    let mutants = listed(repo, set)?;
    let name = |number: usize| mutants.get(number).map(|it| it.name.clone()).unwrap_or_default();
    let (programs, built, refused) = built(repo, set, &mutants)?;
    say(format_args!("{} of {} mutants built after {}", built.len(), mutants.len(), took(begun)));
    let tests = traced(repo, set, &programs)?;
    say(format_args!("{} tests tried with nothing broken after {}", tests.len(), took(begun)));

    let mut sample: Vec<usize> =
        built.iter().copied().filter(|it| hash(&name(*it)).is_multiple_of(one_of)).collect();
    // In no order, so that those tried so far are a sample too, if nobody waits for the rest.
    sample.sort_by_key(|it| hash(&name(*it)));
    let (done, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let noticed = parallel(&sample, |mutant| {
        let mut noticed = false;
        for test in tests.iter().filter(|it| it.reaches.contains(mutant)) {
            noticed = noticed || !test.passes("MUTANT", &mutant.to_string())?;
        }
        if !noticed {
            missed.fetch_add(1, Ordering::Relaxed);
            say(format_args!("not noticed: {}", name(*mutant)));
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) {
            let (missed, of) = (missed.load(Ordering::Relaxed), sample.len());
            say(format_args!("{done} of {of} tried, {missed} not noticed, after {}", took(begun)));
        }
        Ok(noticed)
    })?;
    let mut outcome = Outcome::default();
    for (number, mutant) in mutants.iter().enumerate() {
        let list = match sample.iter().position(|it| *it == number) {
            Some(at) if noticed.get(at) == Some(&true) => &mut outcome.noticed,
            Some(_) => &mut outcome.missed,
            None if refused.contains(&number) => &mut outcome.unbuilt,
            None if !built.contains(&number) => &mut outcome.unswitched,
            None => continue,
        };
        list.push(mutant.name.clone());
    }
    Ok(outcome)
}

fn cargo(repo: &Repo, folder: &Path) -> Command {
    let mut cargo = repo.cargo();
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", repo.target.join("mutants/build"));
    // The tests run a thousand times and are built once.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    // What stands there on purpose deserves no warning, and none that is an error.
    cargo.env("RUSTFLAGS", "--cap-lints=allow");
    cargo
}

fn listed(repo: &Repo, set: &Set) -> Result<Vec<Mutant>> {
    let mut cargo = cargo(repo, &repo.root);
    let output = cargo.args(["mutants", "--list", "--json", "--package", set.package]).output()?;
    if !output.status.success() {
        bail!("cargo mutants failed; is it installed? `cargo install cargo-mutants --locked` installs it");
    }
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).context("what it lists cannot be read")?;
    let mutant = |it: &Value| {
        let text = |what: &str| it[what].as_str().map(str::to_owned);
        let start = &it["span"]["start"];
        Some(Mutant {
            name: text("name")?,
            file: text("file")?,
            genre: text("genre")?,
            replacement: text("replacement")?,
            place: (number(&start["line"])?, number(&start["column"])?),
        })
    };
    list.iter().map(mutant).collect::<Option<_>>().context("cargo mutants lists something else than it did")
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|it| usize::try_from(it).ok())
}

/// Builds the tests in a copy with as many mutants as can be built. Answers with the programs as cargo names them, the
/// mutants in them, and those that the compiler refused.
fn built(
    repo: &Repo,
    set: &Set,
    mutants: &[Mutant],
) -> Result<(Vec<Value>, BTreeSet<usize>, BTreeSet<usize>)> {
    let copy = repo.target.join("mutants").join(set.name).join("copy");
    let library = format!("{}/src/lib.rs", set.folder);
    let mut refused = BTreeSet::new();
    loop {
        let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::from([(&*library, Vec::new())]);
        for (number, mutant) in mutants.iter().enumerate().filter(|(number, _)| !refused.contains(number)) {
            files.entry(&mutant.file).or_default().push((number, mutant));
        }
        let mut switched = BTreeMap::new();
        let mut texts =
            BTreeMap::from([(copy.join(set.folder).join("src/mutant.rs"), module(mutants.len()))]);
        for (file, mutants) in files {
            let source = read(&repo.root.join(file))?;
            let done = switch(&source, &mutants).with_context(|| format!("{file} cannot be read"))?;
            // Behind everything, so that each line stays where it is.
            let asked = if file == library { "mod mutant;\n" } else { "" };
            texts.insert(copy.join(file), format!("{}{asked}", done.text));
            refused.extend(&done.refused);
            switched.insert(file, done);
        }
        copied(&repo.root, &copy, &texts)?;
        let mut cargo = cargo(repo, &copy);
        cargo.args(["test", "--no-run", "--message-format", "json"]).args(set.tests(repo)?);
        let output = cargo.output().context("cargo cannot be started")?;
        let lines = output.stdout.split(|it| *it == b'\n').filter(|it| it.starts_with(b"{"));
        let said: Vec<Value> = lines.map(serde_json::from_slice).collect::<serde_json::Result<_>>()?;
        if output.status.success() {
            let built = switched.values().flat_map(|it| &it.inserted).flat_map(|(_, it)| it);
            let is_test = |it: &Value| it["executable"].is_string() && it["profile"]["test"] == true;
            return Ok((
                said.iter().filter(|it| is_test(it)).cloned().collect(),
                built.copied().collect(),
                refused,
            ));
        }
        let errors = said.iter().map(|it| &it["message"]).filter(|it| it["level"] == "error");
        let blamed: BTreeSet<usize> = errors.clone().flat_map(|it| to_blame(it, &switched)).collect();
        if blamed.is_empty() {
            let shown: String = errors.filter_map(|it| it["rendered"].as_str()).collect();
            bail!("no mutant is to blame for this:\n{shown}{}", String::from_utf8_lossy(&output.stderr));
        }
        say(format_args!("{} mutants do not build", blamed.len()));
        refused.extend(blamed);
    }
}

/// The mutants an error of the compiler speaks of, which says where it is before it says why.
fn to_blame(error: &Value, switched: &BTreeMap<&str, Switched>) -> BTreeSet<usize> {
    let mut spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
    spans.sort_by_key(|it| it["is_primary"] != true);
    let blamed = spans.into_iter().filter_map(|it| {
        let there = number(&it["byte_start"])?..number(&it["byte_end"])?;
        Some(switched.get(it["file_name"].as_str()?)?.to_blame(&there))
    });
    blamed.into_iter().find(|it| !it.is_empty()).unwrap_or_default().iter().copied().collect()
}

/// One test of one program.
struct Test {
    program: PathBuf,
    /// Its package, where it expects to be started.
    folder: PathBuf,
    name: String,
    took: Duration,
    reaches: BTreeSet<usize>,
}

impl Test {
    fn passes(&self, name: &str, value: &str) -> Result<bool> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {MOST_KB}; exec \"$0\" --exact \"$1\"")]);
        shell.arg(&self.program).arg(&self.name).current_dir(&self.folder).env(name, value);
        shell.env("CARGO_MANIFEST_DIR", &self.folder).env("INSTA_UPDATE", "no");
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = shell.spawn().context("sh cannot be started")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if begun.elapsed() > PATIENCE + self.took * 10 {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            // Most tests take some milliseconds.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// All tests, the quickest first, each with the mutants it reaches, as a run of it with no mutant on says.
fn traced(repo: &Repo, set: &Set, programs: &[Value]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for program in programs {
        let path = |what: &str| program[what].as_str().map(PathBuf::from).context("cargo names no test");
        let (program, manifest) = (path("executable")?, path("manifest_path")?);
        let folder = manifest.parent().unwrap_or(&repo.root).to_path_buf();
        let list = Command::new(&program).args(["--list", "--format", "terse"]).output()?;
        for name in String::from_utf8_lossy(&list.stdout).lines().filter_map(|it| it.strip_suffix(": test")) {
            let (program, folder, name) = (program.clone(), folder.clone(), name.to_owned());
            let took = Duration::from_secs(300);
            tests.push(Test { program, folder, name, took, reaches: BTreeSet::new() });
        }
    }
    let traces = repo.target.join("mutants").join(set.name).join("traces");
    std::fs::create_dir_all(&traces)?;
    let found = parallel(&tests, |test| {
        let program = test.program.file_name().unwrap_or_default().display();
        let trace = traces.join(format!("{program}-{}", test.name.replace(':', "-")));
        write(&trace, b"")?;
        let begun = Instant::now();
        if !test.passes("MUTANT_TRACE", &trace.display().to_string())? {
            bail!("{} of {} fails where nothing is broken", test.name, test.program.display());
        }
        let reached: Result<BTreeSet<usize>, _> = read(&trace)?.lines().map(str::parse).collect();
        Ok((begun.elapsed(), reached.context("a trace cannot be read")?))
    })?;
    for (test, (took, reaches)) in tests.iter_mut().zip(found) {
        (test.took, test.reaches) = (took, reaches);
    }
    tests.sort_by_key(|it| it.took);
    Ok(tests)
}

/// The same for a text on every machine and in every version of Rust, so that a sample is the same again.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step) >> 16
}

/// Does something with each, on all cores.
fn parallel<I: Sync, O: Send>(inputs: &[I], work: impl Fn(&I) -> Result<O> + Sync) -> Result<Vec<O>> {
    let next = AtomicUsize::new(0);
    let some = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = numbers.map_while(|at| inputs.get(at).map(|it| Ok((at, work(it)?))));
        mine.collect::<Result<Vec<(usize, O)>>>()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(some)).collect();
        threads.into_iter().try_for_each(|it| {
            all.extend(it.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
            Ok::<_, anyhow::Error>(())
        })
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, it)| it).collect())
}

/// Copies a workspace, without what was built of it, and with these texts instead of its own. What is there no more goes:
/// a test that was deleted would notice for those that are left.
fn copied(from: &Path, to: &Path, texts: &BTreeMap<PathBuf, String>) -> Result<()> {
    for (file, text) in texts.iter().filter(|(file, _)| file.parent() == Some(to)) {
        write(file, text.as_bytes())?;
    }
    for entry in std::fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let (from, name) = entry.map(|it| (it.path(), it.file_name()))?;
        let to = to.join(&name);
        // Cargo marks so what it builds in, if it has another name.
        if name == ".git" || name == "target" || from.join("CACHEDIR.TAG").exists() {
            continue;
        }
        if from.is_dir() {
            copied(&from, &to, texts)?;
        } else if !texts.contains_key(&to) {
            write(&to, &std::fs::read(&from).with_context(|| format!("{} cannot be read", from.display()))?)?;
        }
    }
    let old = std::fs::read_dir(to).into_iter().flatten().flatten().map(|entry| entry.path());
    for old in old.filter(|old| !texts.keys().any(|text| text.starts_with(old))) {
        if old.file_name().is_some_and(|name| !from.join(name).exists()) {
            let gone = if old.is_dir() { std::fs::remove_dir_all(&old) } else { std::fs::remove_file(&old) };
            gone.with_context(|| format!("{} cannot be removed", old.display()))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What stands there already stays as old as it is, and cargo builds nothing anew for it.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|it| it == content) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, content));
    written.with_context(|| format!("{} cannot be written", path.display()))
}
