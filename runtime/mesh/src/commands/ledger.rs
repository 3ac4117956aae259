//! `mesh ledger`: the ledger read, checked and moved.
// spec: LED-6

mod log;

use super::receipt_file::{self, write_whole};
use super::shown::{count, grams, sheet, time};
use crate::args::Ledger;
use crate::client::{Client, Download, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::ledger_file::{self, Carbon, Fault, MAGIC, Trouble, Verified};
use mesh_protocol::ledger::Entry;
use mesh_protocol::text::sanitise;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

/// Names that lead nowhere which are shown: one member can make up any number.
const ABSENT_SHOWN: usize = 10;

pub(super) fn run(ledger: &Ledger) -> Result<u8> {
    match ledger {
        Ledger::Log { file, last, json } => log::run(file.as_deref(), *last, *json),
        Ledger::Verify { file, carbon, json } => verify(file.as_deref(), *carbon, *json),
        Ledger::Export { file, overwrite } => export(file.as_deref(), *overwrite),
        Ledger::Import { file, json } => import(file, *json),
    }
}

/// An exported ledger, wherever it comes from.
enum Source {
    File(BufReader<File>),
    Node(Download),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Node(download) => download.read(into),
        }
    }
}

fn open(file: Option<&Path>) -> Result<Source> {
    match file {
        Some(path) => {
            let opened = File::open(path).map_err(|error| Failure::file("read the ledger", path, &error))?;
            Ok(Source::File(BufReader::new(opened)))
        }
        None => Ok(Source::Node(Client::find()?.download("/v1/ledger")?)),
    }
}

/// What one reads from, in words.
fn name(file: Option<&Path>) -> String {
    file.map_or_else(|| "the node's ledger".into(), |path| path.display().to_string())
}

fn trouble(file: Option<&Path>, what: &str, trouble: Trouble) -> Failure {
    let what = format!("{what} {}", name(file));
    match trouble {
        Trouble::Read(error) => match file {
            Some(path) => Failure::file("read the ledger", path, &error),
            None => Failure::because(what, &error),
        },
        Trouble::Bad(fault) => Failure::new(format!("{what}: {}", describe(&fault)))
            .hint("get it again from where it was exported"),
    }
}

fn describe(fault: &Fault) -> String {
    match fault.entry {
        Some(entry) => format!("byte {}, entry {entry}: {}", fault.at, fault.what),
        None => format!("byte {}: {}", fault.at, fault.what),
    }
}

#[derive(Serialize)]
struct Verdict {
    sound: bool,
    #[serde(flatten)]
    verified: Option<Verified>,
    byte: Option<u64>,
    entry: Option<u64>,
    because: Option<String>,
}

fn verify(file: Option<&Path>, carbon: bool, json: bool) -> Result<u8> {
    match ledger_file::verify(open(file)?) {
        Ok(verified) => {
            let wrong = carbon && verified.carbon.iter().any(|it| it.wrong.is_some());
            if json {
                let verdict =
                    Verdict { sound: true, verified: Some(verified), byte: None, entry: None, because: None };
                super::print_json(&verdict)?;
            } else {
                super::print(&sound(&verified))?;
                if carbon {
                    super::print(&recomputed(&verified.carbon))?;
                }
            }
            Ok(if wrong { exit_codes::FAILED } else { exit_codes::OK })
        }
        Err(Trouble::Bad(fault)) if json => {
            let Fault { at, entry, what } = fault;
            let verdict =
                Verdict { sound: false, verified: None, byte: Some(at), entry, because: Some(what) };
            super::print_json(&verdict)?;
            Ok(exit_codes::FAILED)
        }
        Err(found) => Err(trouble(file, "verify", found)),
    }
}

fn sound(verified: &Verified) -> String {
    let mut lines = vec![("verdict", "sound".to_owned())];
    if let Some(community) = verified.community {
        lines.push(("community", format!("{} ({})", verified.name, community.short())));
    }
    lines.push((
        "entries",
        format!(
            "{} in the {} of {}",
            verified.entries,
            if verified.logs == 1 { "log" } else { "logs" },
            count(verified.logs as u64, "device")
        ),
    ));
    if let Some((first, last)) = verified.dates_ms {
        lines.push(("dates", format!("{} to {}", time(first), time(last))));
    }
    for fork in &verified.forks {
        lines.push((
            "fork",
            format!("the log of {} does not count from place {} on", fork.author.short(), fork.seq),
        ));
    }
    for it in &verified.uncounted {
        let does = match it.after {
            0 => "does".to_owned(),
            after => format!("and the {after} after it do"),
        };
        let author = it.author.short();
        lines.push((
            "not counted",
            format!("place {} in the log of {author} {does} not count: {}", it.seq, it.why),
        ));
    }
    for what in verified.absent.iter().take(ABSENT_SHOWN) {
        lines.push(("not there", format!("{what}; it was left out, or never was")));
    }
    if let Some(more) = verified.absent.len().checked_sub(ABSENT_SHOWN).filter(|more| *more > 0) {
        lines.push(("not there", format!("and {more} more, which --json lists")));
    }
    sheet(&lines)
}

/// Each word about energy with its readings, and whether it is what comes out.
// spec: CO2-4, EN-6
fn recomputed(carbon: &[Carbon]) -> String {
    let mut text = String::new();
    for it in carbon {
        let ug = it.ug.map_or_else(|| "not known".to_owned(), grams);
        let wrong = it.wrong.as_ref().map(|why| format!(" WRONG: {why}")).unwrap_or_default();
        text.push_str(&format!(
            "{} attempt {} by {}: {ug}{wrong}\n",
            it.task.short(),
            it.attempt,
            it.by.short()
        ));
        for reading in &it.readings {
            text.push_str(&format!("  {}\n", sanitise(reading, false)));
        }
    }
    text
}

fn export(file: Option<&Path>, overwrite: bool) -> Result<u8> {
    // What is no file, as a pipe, loses nothing by being written to.
    if let Some(path) = file.filter(|path| !overwrite && path.is_file()) {
        return Err(Failure::new(format!("write the ledger {}: there is such a file", path.display()))
            .hint("name another one, or add --overwrite"));
    }
    if file.is_none() && rustix::termios::isatty(io::stdout()) {
        return Err(Failure::new("write the ledger to the terminal: it is not text").hint(
            "name a file, as `mesh ledger export elm-street.ledger`; `mesh ledger log` shows what is in it",
        ));
    }
    let mut download = Client::find()?.download("/v1/ledger")?;
    let broken = |error: io::Error| Failure::because("export the ledger: the connection broke", &error);
    let Some(path) = file else {
        let mut out = io::stdout().lock();
        while let Some(bytes) = download.next(None).map_err(broken)? {
            match out.write_all(&bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(exit_codes::READER_GONE);
                }
                written => written.map_err(|error| Failure::because("write the output", &error))?,
            }
        }
        return Ok(exit_codes::OK);
    };
    let mut bytes = Vec::new();
    download.read_to_end(&mut bytes).map_err(broken)?;
    write_whole(path, &bytes, receipt_file::PUBLIC)
        .map_err(|error| Failure::file("write the ledger", path, &error))?;
    crate::say!("wrote {} to {}", super::human(bytes.len() as u64), path.display());
    Ok(exit_codes::OK)
}

fn import(path: &Path, as_json: bool) -> Result<u8> {
    #[derive(Deserialize)]
    struct Report {
        taken: usize,
        known: usize,
        refused: Vec<String>,
        #[serde(default)]
        refused_more: usize,
    }
    let failed = |error: io::Error| Failure::file("read the ledger", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        return Err(Failure::new(format!("import {}: it is no exported ledger", path.display()))
            .hint("name a file written by `mesh ledger export`"));
    }
    let client = Client::find()?;
    of_our_community(&client, path)?;
    let value = client.upload("/v1/ledger", MAGIC.chain(file), &mut |_| {})?;
    let Report { taken, known, refused, refused_more } = understand(value.clone())?;
    if as_json {
        super::print_json(&value)?;
    } else {
        super::print(&sheet(&[
            ("taken", taken.to_string()),
            ("known before", known.to_string()),
            ("refused", refused.len().saturating_add(refused_more).to_string()),
        ]))?;
        for why in &refused {
            crate::say!("refused: {}", sanitise(why, false));
        }
        if refused_more > 0 {
            crate::say!("refused: {refused_more} more");
        }
    }
    Ok(if refused.is_empty() { exit_codes::OK } else { exit_codes::FAILED })
}

/// Another community's entries follow on nothing that is known here, which says little to whoever took the wrong file.
fn of_our_community(client: &Client, path: &Path) -> Result<()> {
    let ours = client.get("/v1/community").ok().and_then(|it| Some(it["id"].as_str()?.to_owned()));
    match (ours, first_community(path)) {
        (Some(ours), Some(theirs)) if theirs != ours => Err(Failure::new(format!(
            "import {}: it is of another community, {}; this peer is of {}",
            path.display(),
            theirs.chars().take(10).collect::<String>(),
            ours.chars().take(10).collect::<String>()
        ))
        .hint("`mesh ledger verify FILE` says of which; name a file that a member of this one exported")),
        _ => Ok(()),
    }
}

/// The community of a file's first entry, as far as it can be read: what is wrong with the rest is told by whoever reads it.
fn first_community(path: &Path) -> Option<String> {
    let mut entries = ledger_file::Entries::new(BufReader::new(File::open(path).ok()?)).ok()?;
    let entry = Entry::verify(&entries.next().ok()??.bytes).ok()?;
    Some(entry.header().belongs_to().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LED-6
    #[test]
    fn the_first_bad_byte_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ledger");
        std::fs::write(&path, [MAGIC, &[9, 9, 0, 0, 1]].concat()).unwrap();
        let failure = verify(Some(&path), false, false).unwrap_err();
        let text = failure.to_string();
        assert!(
            text.contains("byte 18, entry 0: the file is cut off in it") && text.contains("hint:"),
            "{text}"
        );
        assert_eq!(failure.exit_code(), exit_codes::FAILED);
        std::fs::write(&path, ledger_file::encode([])).unwrap();
        assert_eq!(verify(Some(&path), false, true).unwrap(), exit_codes::OK);
        assert!(import(&folder.path().join("none"), false).unwrap_err().to_string().contains("hint:"));
    }

    // spec: CO2-4, LED-6
    #[test]
    fn a_wrong_account_is_told_by_the_code_in_either_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ledger");
        std::fs::write(&path, ledger_file::tests::wrongly_accounted()).unwrap();
        for json in [false, true] {
            assert_eq!(verify(Some(&path), true, json).unwrap(), exit_codes::FAILED, "json: {json}");
            assert_eq!(verify(Some(&path), false, json).unwrap(), exit_codes::OK, "json: {json}");
        }
    }

    // spec: LED-6
    #[test]
    fn what_follows_an_entry_that_does_not_count_is_told_with_it() {
        let author = mesh_protocol::key::PublicKey([1; 32]);
        let uncounted = |after| ledger_file::Uncounted { author, seq: 4, why: "so".into(), after };
        let verified = Verified { uncounted: vec![uncounted(0), uncounted(3)], ..Verified::default() };
        let text = sound(&verified);
        assert!(
            text.contains("does not count: so") && text.contains("and the 3 after it do not count: so"),
            "{text}"
        );
    }
}
