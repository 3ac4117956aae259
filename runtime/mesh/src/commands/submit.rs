//! `mesh submit`: a task, its code and its input handed to this machine's node.
// spec: DEL-1, CLI-2, CLI-5

use super::follow::{self, How};
use super::gather::{self, Gathered};
use super::screen::Screen;
use super::shown::{sheet, span, table, time, wh};
use super::views::{Expected, Plan, Submitted};
use super::{load_failure, result};
use crate::args::Submit;
use crate::client::{Client, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_executor::{StartError, Summary};
use mesh_node::Draft;
use mesh_protocol::ids::{BlobHash, ModuleHash};
use mesh_protocol::ledger::reads_like_a_key;
use mesh_protocol::limits::Limits;
use mesh_protocol::manifest::{Manifest, is_task_name};
use mesh_protocol::outcome::Refusal;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::task::Blob;
use mesh_protocol::text::sanitise;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek as _};
use std::path::Path;

/// Less is sent in a moment, and needs no bar.
const WORTH_A_BAR: u64 = 16_000_000;

pub(super) fn run(submit: &Submit) -> Result<u8> {
    let client = Client::find()?;
    if let Some(folder) = &submit.output {
        if !submit.follow && !submit.wait {
            return Err(Failure::new("put the result into a folder: nobody waits for it")
                .hint("add --wait or --follow, or fetch it later with `mesh task result ID -o FOLDER`"));
        }
        // Before anything runs: a result that cannot be put there is no use afterwards.
        result::check_free(folder)?;
    }
    let inputs = submit.given.inputs.iter().map(|input| &input.path);
    let named = inputs.chain(&submit.given.input).chain([&submit.module]);
    if named.filter(|path| path.as_path() == Path::new(gather::STDIN)).count() > 1 {
        return Err(Failure::new("submit: standard input is named twice, and can be read once")
            .hint("give one of the two as a file"));
    }
    let module = read_module(&submit.module)?;
    let (summary, manifest) = examine(&submit.module, &module)?;
    let gathered = gather::gather(&submit.given)?;
    let mut draft = draft(submit, &module, &summary, &manifest, &gathered)?;
    if submit.duration.is_none() {
        fit_to_tier(&client, submit, &mut draft);
    }
    // Asking where it would run takes the hashes, and not what has them.
    if !submit.dry_run {
        send(&client, &module, gathered, submit.quiet)?;
    }
    let answer =
        client.post("/v1/tasks", &draft).map_err(|failure| failure.if_refused(exit_codes::REFUSED))?;
    if submit.dry_run {
        if submit.json {
            super::print_json(&answer)?
        } else {
            super::print(&plan(understand(answer)?))?
        }
        return Ok(exit_codes::OK);
    }
    let Submitted { task, again, warning, advice, on } = understand(answer.clone())?;
    // spec: SLA-2
    if let Some(warning) = warning {
        crate::say!("warning: {}", sanitise(&warning, false));
    }
    if again && !submit.quiet && !submit.id_only {
        crate::say!("note: it was submitted before under this key; it is the same task");
    }
    if let Some(on) = on.filter(|_| !submit.quiet && !submit.id_only) {
        crate::say!("note: it runs on {} or nowhere", sanitise(&on, false));
    }
    // spec: REP-3
    if let Some(advice) = advice.filter(|_| !submit.quiet && !submit.id_only) {
        crate::say!("note: {}", sanitise(&advice, false));
    }
    match (submit.follow, submit.wait, submit.json) {
        // Standard output is the task's, or the whole task's in the end.
        (true, ..) | (_, true, true) => {}
        (_, _, true) => super::print_json(&answer)?,
        _ => super::print(&format!("{task}\n"))?,
    }
    if submit.follow || submit.wait {
        if !submit.quiet && !submit.id_only {
            crate::say!("submitted {} as {}", draft.name, task.short());
        }
        let how = How {
            stream: submit.follow,
            quiet: submit.quiet || submit.id_only,
            output: submit.output.as_deref(),
            json: submit.json,
        };
        return follow::to_the_end(&client, task, &how);
    }
    if !submit.quiet && !submit.id_only && !submit.json {
        let id = task.short();
        crate::say!(
            "submitted {}; `mesh task why {id}` says what it waits for, `mesh task result {id} -o FOLDER` fetches its result",
            draft.name
        );
    }
    Ok(exit_codes::OK)
}

/// A manifest asks for what its author's machine needed at most; where nobody said how long it may take here, that is
/// no reason to refuse it.
// spec: QUOTA-1
fn fit_to_tier(client: &Client, submit: &Submit, draft: &mut Draft) {
    // Who cannot be asked says so when the task is submitted.
    let Ok(quota) = client.get("/v1/quota") else { return };
    let Some(longest) = longest(&quota).filter(|longest| *longest < draft.limits.duration_ms) else { return };
    if !submit.quiet && !submit.id_only {
        crate::say!(
            "note: its manifest asks for up to {} min, and your tier gives {}: it is submitted with that; --duration asks \
             for another",
            draft.limits.duration_ms / 60_000,
            longest / 60_000
        );
    }
    draft.limits = shortened(&draft.limits, longest);
}

/// The longest task of a member's tier; none if nobody counts.
fn longest(quota: &Value) -> Option<u64> {
    quota["allowed"].as_u64()?;
    quota["longest_ms"].as_u64().filter(|longest| *longest > 0)
}

fn shortened(limits: &Limits, duration_ms: u64) -> Limits {
    let fuel = limits.fuel.min(Limits::fuel_for(duration_ms));
    Limits { duration_ms, fuel, ..limits.clone() }
}

/// The module, from a file, a pipe or our own standard input.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new(gather::STDIN) {
        return super::read_module(path);
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(mesh_executor::MAX_MODULE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::because("read the module from standard input", &error))?;
    Ok(bytes)
}

fn examine(path: &Path, module: &[u8]) -> Result<(Summary, Manifest)> {
    let refused = |refusal| load_failure(path, &StartError::Refused(refusal));
    let summary = mesh_executor::examine(module).map_err(refused)?;
    let manifest = summary.manifest().map_err(refused)?;
    Ok((summary, manifest))
}

fn draft(
    submit: &Submit,
    module: &[u8],
    summary: &Summary,
    manifest: &Manifest,
    gathered: &Gathered,
) -> Result<Draft> {
    if let (Some(start), Some(finish)) = (submit.start_by, submit.finish_by)
        && start > finish
    {
        return Err(Failure::new(format!(
            "submit {}: --start-by, {}, is later than --finish-by, {}",
            submit.module.display(),
            time(start),
            time(finish)
        ))
        .hint("give a --start-by that leaves time to finish")
        .code(exit_codes::REFUSED));
    }
    let limits = limits(submit, summary, manifest)?;
    let refused = |refusal| Err(load_failure(&submit.module, &StartError::Refused(refusal)));
    if summary.first_memory > limits.memory_bytes {
        return refused(Refusal::MemoryTooLarge { actual: summary.first_memory, limit: limits.memory_bytes });
    }
    if gathered.bytes() > limits.input_bytes {
        let what = format!(
            "submit {}: refused: the input has {} bytes, at most {} are allowed",
            submit.module.display(),
            gathered.bytes(),
            limits.input_bytes
        );
        return Err(Failure::new(what)
            .hint("give less, or raise [limits] input in its task.toml")
            .code(exit_codes::REFUSED));
    }
    let env: BTreeMap<String, String> = submit.env.iter().cloned().collect();
    if let Some(refusal) = not_granted(submit, &env, &manifest.permissions) {
        return refused(refusal);
    }
    Ok(Draft {
        name: submit.name.clone().unwrap_or_else(|| name(&submit.module, summary, manifest)),
        description: manifest.description.clone(),
        module: ModuleHash::of(module),
        module_len: module.len() as u64,
        args: submit.args.clone(),
        env: env.into_iter().collect(),
        stdin: gathered.stdin.as_ref().map(|part| part.blob),
        inputs: gathered.inputs(),
        input: gathered.hash(),
        limits,
        permissions: manifest.permissions.clone(),
        sla: submit.sla,
        importance: submit.importance,
        followed: submit.follow || submit.wait,
        start_by_ms: submit.start_by,
        finish_by_ms: submit.finish_by,
        nonce: nonce(submit.idempotency_key.as_deref())?,
        on: submit.on.clone(),
        dry_run: submit.dry_run,
        replicas: submit.replicas,
        quorum: submit.quorum.unwrap_or(submit.replicas / 2 + 1),
    })
}

/// The same key is the same task.
// spec: DEL-1
fn nonce(key: Option<&str>) -> Result<[u8; 32]> {
    if let Some(key) = key {
        return Ok(blake3::derive_key("taskmesh idempotency key v1", key.as_bytes()));
    }
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| Failure::because("draw a number for the task", &error))?;
    Ok(nonce)
}

/// What the manifest calls it; a plain program is called as its file.
fn name(path: &Path, summary: &Summary, manifest: &Manifest) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let plain: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(64)
        .collect();
    let mut plain = plain.trim_matches('-').to_owned();
    if reads_like_a_key(&plain) {
        plain = format!("task-{plain}").chars().take(64).collect();
    }
    if summary.manifest.is_none() && is_task_name(&plain) { plain } else { manifest.name.clone() }
}

/// The manifest's bounds, narrowed by the flags. A plain program has none of its own, so there the flags set them.
// spec: SBX-10
fn limits(submit: &Submit, summary: &Summary, manifest: &Manifest) -> Result<Limits> {
    let asked = &manifest.limits;
    let mut limits = asked.clone();
    if let Some(duration) = submit.duration {
        limits.duration_ms = duration;
        limits.fuel = Limits::fuel_for(duration);
    }
    limits.memory_bytes = submit.memory.unwrap_or(limits.memory_bytes);
    if summary.manifest.is_some() {
        for (flag, given, most, unit) in [
            ("duration", limits.duration_ms, asked.duration_ms, "ms"),
            ("memory", limits.memory_bytes, asked.memory_bytes, "bytes"),
        ] {
            if given > most {
                let what = format!(
                    "submit {}: refused: --{flag} is {given} {unit}, its manifest asks for {most} {unit} at most",
                    submit.module.display()
                );
                return Err(Failure::new(what)
                    .hint(format!("a flag only narrows: raise [limits] {flag} in its task.toml"))
                    .code(exit_codes::REFUSED));
            }
        }
        limits = limits.narrow(asked);
    }
    match limits.out_of_range() {
        None => Ok(limits),
        Some((name, range)) => Err(Failure::new(format!(
            "submit {}: refused: the limit `{name}` must be {range}",
            submit.module.display()
        ))
        .hint(format!("give another --{name}"))
        .code(exit_codes::REFUSED)),
    }
}

/// What is given that the manifest does not ask for; the executing peer would refuse it, later.
// spec: SBX-10
fn not_granted(submit: &Submit, env: &BTreeMap<String, String>, asked: &Permissions) -> Option<Refusal> {
    let refusal = |what: String, line: String| {
        let place = "[permissions] in the task's task.toml".into();
        Some(Refusal::NotGranted { what, line, place })
    };
    if let Some(key) = env.keys().find(|key| !asked.env.contains(key)) {
        return refusal(format!("the environment variable {key}"), format!("env = [{key:?}]"));
    }
    let mut names = submit.given.inputs.iter().map(|input| &input.name);
    if let Some(name) = names.find(|name| !asked.inputs.contains(name)) {
        return refusal(format!("the input {name:?}"), format!("inputs = [{name:?}]"));
    }
    None
}

/// Sends what the node must keep before it promises to run the task.
// spec: CLI-4
fn send(client: &Client, module: &[u8], gathered: Gathered, quiet: bool) -> Result<()> {
    let code = Blob { hash: BlobHash(ModuleHash::of(module).0), len: module.len() as u64 };
    let total = gathered.bytes().saturating_add(code.len);
    let mut screen = Screen::new(quiet || total < WORTH_A_BAR);
    let mut before = 0;
    let mut sent = BTreeSet::new();
    let mut one = |blob: Blob, bytes: &mut dyn Read, from: &Path| -> Result<()> {
        // The same bytes under two names are sent once.
        if sent.insert(blob.hash) {
            let mut progress = |part: u64| {
                let permille = (before + part).saturating_mul(1000) / total.max(1);
                screen.progress(u16::try_from(permille).unwrap_or(1000), "sent to the node");
            };
            // No more than was hashed: a file that grows would never end.
            let kept = client.upload("/v1/blobs", bytes.take(blob.len), &mut progress)?;
            if understand::<Blob>(kept)? != blob {
                return Err(Failure::new(format!("send {}: it changed meanwhile", from.display()))
                    .hint("submit it again when nobody writes to it"));
            }
        }
        before += blob.len;
        Ok(())
    };
    one(code, &mut &module[..], Path::new("the module"))?;
    for mut part in gathered.files.into_values().chain(gathered.stdin) {
        part.file.rewind().map_err(|error| Failure::file("read the input", &part.from, &error))?;
        one(part.blob, &mut part.file, &part.from)?;
    }
    screen.clear();
    Ok(())
}

// spec: CLI-3
fn plan(plan: Plan) -> String {
    let choice = match (&plan.choice, &plan.plan) {
        (Some(peer), Some(plan)) => {
            format!("it would go to {}: {}\n", sanitise(peer, false), sanitise(plan, false))
        }
        (Some(peer), None) => format!("it would go to {}\n", sanitise(peer, false)),
        (None, Some(plan)) => format!("it would wait: it {}\n", sanitise(plan, false)),
        (None, None) => "no peer could take it now\n".to_owned(),
    };
    let mut lines = vec![("rule", plan.rule), ("quota", plan.quota)];
    lines.extend(plan.health.map(|word| {
        let word = sanitise(&word, false);
        (
            "health",
            format!("it mentions {word:?}: it would run at once and on any energy, with a warning to all"),
        )
    }));
    lines.extend(plan.ballot_ms.map(|ms| {
        let waits =
            if plan.waits_for_ballot { "it would wait for that" } else { "it would not wait for that" };
        let vote = "and what they decide may change when it runs and on which energy";
        ("ballot", format!("members would have {} to vote on it; {waits}, {vote}", span(ms)))
    }));
    lines.extend(plan.finish_by_ms.map(|by| ("done by", time(by))));
    let lines = sheet(&lines);
    let expected = plan.expected.as_ref().map_or_else(String::new, expected);
    let advice = plan.advice.map_or_else(String::new, |advice| format!("{}\n", sanitise(&advice, false)));
    let rows = plan.peers.into_iter().map(|(peer, verdict)| vec![peer, verdict]);
    format!("{choice}{lines}\n{expected}{advice}{}", table(&["PEER", "VERDICT"], rows))
}

/// What others of its name did.
// spec: REP-3
fn expected(it: &Expected) -> String {
    let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    let energy = it.energy_mj.map_or_else(String::new, |mj| format!(", {} for half of them", wh(mj)));
    format!(
        "the last {} of its name took up to {} and {} MB{energy}; half waited {} or less for their start\n",
        it.runs,
        seconds(it.wall_ms),
        it.memory.div_ceil(1_000_000),
        seconds(it.waited_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;
    use mesh_protocol::permissions::Names;
    use mesh_protocol::task::Sla;

    fn typed(args: &[&str]) -> Box<Submit> {
        let args = Args::try_parse_from(["mesh", "submit"].iter().chain(args)).unwrap();
        let Command::Submit(submit) = args.command else { panic!("not submit") };
        submit
    }

    fn summary(manifest: Option<&str>) -> Summary {
        Summary {
            bytes: 8,
            component: false,
            imports: vec![],
            functions: 1,
            first_memory: 70_000,
            manifest: manifest.map(str::to_owned),
        }
    }

    fn drafted(args: &[&str], manifest: Option<&str>) -> Result<Draft> {
        let (submit, summary) = (typed(args), summary(manifest));
        let manifest = summary.manifest().unwrap();
        draft(&submit, b"module", &summary, &manifest, &gather::gather(&submit.given)?)
    }

    const TASK: &str = "[task]\nname = \"tidy\"\n[limits]\nduration = \"1m\"\nmemory = \"2MB\"\nfuel = 900\n[permissions]\nenv = [\"LANG\"]";

    // spec: CLI-2
    #[test]
    fn flags_may_follow_the_module() {
        let submit = typed(&["x.wasm", "one", "--sla", "eco", "--env", "A=1", "--", "--two", "-3"]);
        assert_eq!(submit.args, ["one", "--two", "-3"]);
        assert_eq!((submit.sla, submit.env.len()), (Sla::Eco, 1));
        for wrong in [
            ["--follow", "--wait"],
            ["--follow", "--id-only"],
            ["--dry-run", "--wait"],
            ["--detach", "--wait"],
        ] {
            assert!(
                Args::try_parse_from(["mesh", "submit", "x.wasm"].iter().chain(&wrong)).is_err(),
                "{wrong:?}"
            );
        }
    }

    // spec: SBX-10
    #[test]
    fn flags_narrow_a_manifest_and_never_widen_it() {
        let draft = drafted(&["x.wasm"], Some(TASK)).unwrap();
        assert_eq!((draft.name.as_str(), draft.limits.fuel, draft.limits.duration_ms), ("tidy", 900, 60_000));
        let draft = drafted(&["x.wasm", "--duration", "1s", "--memory", "1MB"], Some(TASK)).unwrap();
        assert_eq!(
            (draft.limits.duration_ms, draft.limits.memory_bytes, draft.limits.fuel),
            (1000, 1_000_000, 900)
        );
        let failure = drafted(&["x.wasm", "--memory", "3MB"], Some(TASK)).unwrap_err();
        assert!(failure.to_string().contains("[limits] memory"));
        assert_eq!(failure.exit_code(), exit_codes::REFUSED);
        assert!(
            drafted(&["x.wasm", "--env", "HOME=/"], Some(TASK)).unwrap_err().to_string().contains("env = ")
        );
        assert!(drafted(&["x.wasm", "--env", "LANG=C"], Some(TASK)).is_ok());
        assert!(
            drafted(&["x.wasm", "--memory", "66kB"], None)
                .unwrap_err()
                .to_string()
                .contains("starts with 70000")
        );
    }

    // spec: QUOTA-1
    #[test]
    fn what_a_manifest_asks_for_is_no_longer_than_the_tier_gives() {
        let quota = |allowed: Option<u64>| serde_json::json!({ "allowed": allowed, "longest_ms": 30_000 });
        assert_eq!((longest(&quota(Some(10))), longest(&quota(None))), (Some(30_000), None));
        let asked = drafted(&["x.wasm"], Some(TASK)).unwrap().limits;
        let given = shortened(&asked, 30_000);
        assert_eq!((given.duration_ms, given.fuel, given.memory_bytes), (30_000, 900, asked.memory_bytes));
    }

    // spec: CLI-5
    #[test]
    fn deadlines_that_no_task_can_keep_are_refused() {
        let wrong =
            drafted(&["x.wasm", "--start-by", "6h", "--finish-by", "1h"], None).unwrap_err().to_string();
        assert!(wrong.contains("--start-by") && wrong.contains("--finish-by"), "{wrong}");
        assert!(drafted(&["x.wasm", "--start-by", "1h", "--finish-by", "6h"], None).is_ok());
    }

    // spec: NET-2
    #[test]
    fn a_plain_program_is_not_called_by_what_reads_like_an_id() {
        assert_eq!(drafted(&["cafebabe.wasm"], None).unwrap().name, "task-cafebabe");
    }

    // spec: SBX-2
    #[test]
    fn a_plain_program_is_called_as_its_file_and_bounded_by_flags() {
        let draft =
            drafted(&["some/My_Program.wasm", "--memory", "200MB", "--duration", "20m"], None).unwrap();
        assert_eq!((draft.name.as_str(), draft.limits.memory_bytes), ("my-program", 200_000_000));
        assert_eq!(draft.limits.fuel, Limits::fuel_for(20 * 60_000));
        assert_eq!(draft.permissions.env, Names::Any);
        assert_eq!(drafted(&["___.wasm"], None).unwrap().name, "task");
        assert_eq!(drafted(&["x.wasm", "--name", "weekly"], None).unwrap().name, "weekly");
    }

    // spec: DEL-1
    #[test]
    fn one_key_is_one_task() {
        let nonce = |args: &[&str]| drafted(args, None).unwrap().nonce;
        let keyed = ["x.wasm", "--idempotency-key", "monday"];
        assert_eq!(nonce(&keyed), nonce(&keyed));
        assert_ne!(nonce(&keyed), nonce(&["x.wasm", "--idempotency-key", "tuesday"]));
        assert_ne!(nonce(&["x.wasm"]), nonce(&["x.wasm"]));
    }
}
