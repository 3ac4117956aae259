//! Which attempts need which blobs: in memory, and as the lines of one file, which says what changed and is written anew
//! when most of it is history.
// spec: DEL-5

use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::BlobHash;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most attempts for which blobs are held: as many as a node remembers at all, and more than a device finishes between
/// two visits of their owners.
const MAX_HOLDERS: usize = 100_000;
/// Lines of history beyond as many as there were of what holds, before the file is written anew.
const MAX_HISTORY: usize = 4096;

/// The attempts and their blobs.
pub(super) struct Holders {
    by_attempt: BTreeMap<AttemptId, BTreeSet<BlobHash>>,
    attempts: BTreeMap<BlobHash, usize>,
    path: PathBuf,
    file: File,
    lines: usize,
    /// So many lines are enough to write the file anew.
    most_lines: usize,
}

impl Holders {
    /// Reads the file in a folder, making it if need be. A line that was not written to its end says nothing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("holders");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let mut by_attempt: BTreeMap<AttemptId, BTreeSet<BlobHash>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&text).split_inclusive('\n') {
            match line.strip_suffix('\n').and_then(Line::read) {
                Some(Line::Needs(attempt, hash)) => {
                    by_attempt.entry(attempt).or_default().insert(hash);
                }
                Some(Line::NeedsNot(attempt, hash)) => {
                    by_attempt.entry(attempt).or_default().remove(&hash);
                }
                Some(Line::Over(attempt)) => {
                    by_attempt.remove(&attempt);
                }
                None => {}
            }
        }
        by_attempt.retain(|_, hashes| !hashes.is_empty());
        let mut attempts = BTreeMap::new();
        for hash in by_attempt.values().flatten() {
            *attempts.entry(*hash).or_default() += 1;
        }
        let (file, lines) = write_anew(&path, &by_attempt)?;
        let most_lines = most_lines(lines);
        Ok(Self { by_attempt, attempts, path, file, lines, most_lines })
    }

    /// Does any attempt need a blob?
    pub(super) fn needs(&self, hash: &BlobHash) -> bool {
        self.attempts.contains_key(hash)
    }

    /// An attempt needs these.
    pub(super) fn hold(&mut self, attempt: AttemptId, hashes: &[BlobHash]) -> io::Result<()> {
        if !self.by_attempt.contains_key(&attempt) && self.by_attempt.len() >= MAX_HOLDERS {
            return Err(io::Error::other("blobs are held for as many attempts as may be"));
        }
        let mut new = Vec::new();
        for hash in hashes {
            if self.by_attempt.entry(attempt).or_default().insert(*hash) {
                *self.attempts.entry(*hash).or_default() += 1;
                new.push(Line::Needs(attempt, *hash));
            }
        }
        // Not made durable: if it is lost, its blobs only stay for too long.
        self.append(&new)
    }

    /// An attempt is over. Gives the blobs that none needs any more.
    pub(super) fn forget(&mut self, attempt: AttemptId) -> Vec<BlobHash> {
        let Some(hashes) = self.by_attempt.remove(&attempt) else { return Vec::new() };
        self.note(Line::Over(attempt));
        hashes.into_iter().filter(|hash| self.let_go(hash)).collect()
    }

    /// An attempt needs a blob no more. Does none need it any more?
    pub(super) fn release(&mut self, attempt: AttemptId, hash: &BlobHash) -> bool {
        if !self.by_attempt.get_mut(&attempt).is_some_and(|hashes| hashes.remove(hash)) {
            return false;
        }
        self.note(Line::NeedsNot(attempt, *hash));
        self.let_go(hash)
    }

    fn let_go(&mut self, hash: &BlobHash) -> bool {
        let Some(count) = self.attempts.get_mut(hash) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.attempts.remove(hash);
        }
        last
    }

    fn note(&mut self, line: Line) {
        if let Err(error) = self.append(&[line]) {
            tracing::warn!(path = %self.path.display(), %error, "a blob stays for longer than it is needed");
        }
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all(text(lines).as_bytes())?;
        self.lines += lines.len();
        if self.lines > self.most_lines {
            (self.file, self.lines) = write_anew(&self.path, &self.by_attempt)?;
            self.most_lines = most_lines(self.lines);
        }
        Ok(())
    }
}

fn most_lines(holds: usize) -> usize {
    2 * holds + MAX_HISTORY
}

/// What changed.
#[derive(Debug, Clone, Copy)]
enum Line {
    Needs(AttemptId, BlobHash),
    NeedsNot(AttemptId, BlobHash),
    Over(AttemptId),
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (sign, attempt, hash) = (words.next()?, words.next()?, words.next());
        let (task, number) = attempt.split_once('-')?;
        let attempt = AttemptId { task: task.parse().ok()?, attempt: number.parse().ok()? };
        match (sign, hash) {
            ("+", Some(hash)) => Some(Self::Needs(attempt, hash.parse().ok()?)),
            ("-", Some(hash)) => Some(Self::NeedsNot(attempt, hash.parse().ok()?)),
            ("-", None) => Some(Self::Over(attempt)),
            _ => None,
        }
    }
}

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| match line {
        Line::Needs(it, hash) => format!("+ {}-{} {hash}\n", it.task, it.attempt),
        Line::NeedsNot(it, hash) => format!("- {}-{} {hash}\n", it.task, it.attempt),
        Line::Over(it) => format!("- {}-{}\n", it.task, it.attempt),
    };
    lines.iter().map(line).collect()
}

/// Writes what holds, and gives the file, open for what comes, and its number of lines.
fn write_anew(
    path: &Path,
    by_attempt: &BTreeMap<AttemptId, BTreeSet<BlobHash>>,
) -> io::Result<(File, usize)> {
    let each = by_attempt.iter().flat_map(|(it, hashes)| hashes.iter().map(|hash| Line::Needs(*it, *hash)));
    let lines: Vec<Line> = each.collect();
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text(&lines).as_bytes())?;
    fs::rename(&new, path)?;
    Ok((file, lines.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ids::TaskId;
    use proptest::prelude::*;

    fn attempt(number: u32) -> AttemptId {
        AttemptId { task: TaskId([7; 32]), attempt: number }
    }

    fn all(holders: &Holders) -> Vec<(AttemptId, Vec<BlobHash>)> {
        let each = holders.by_attempt.iter();
        each.filter(|(_, hashes)| !hashes.is_empty())
            .map(|(attempt, hashes)| (*attempt, hashes.iter().copied().collect()))
            .collect()
    }

    #[test]
    fn half_a_line_says_nothing_and_the_rest_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut holders = Holders::open(dir.path()).unwrap();
        holders.hold(attempt(1), &[BlobHash([1; 32]), BlobHash([2; 32])]).unwrap();
        drop(holders);
        let path = dir.path().join("holders");
        let mut text = fs::read(&path).unwrap();
        text.pop();
        text.extend_from_slice(b"\xff\n+ x y\n");
        let over = format!("- {}-1", TaskId([7; 32]));
        text.extend_from_slice(over.as_bytes());
        fs::write(&path, text).unwrap();
        let holders = Holders::open(dir.path()).unwrap();
        assert_eq!(all(&holders), [(attempt(1), vec![BlobHash([1; 32])])]);
        assert!(holders.needs(&BlobHash([1; 32])) && !holders.needs(&BlobHash([2; 32])));
    }

    // spec: ARC-7
    #[test]
    fn the_file_does_not_grow_with_what_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut holders = Holders::open(dir.path()).unwrap();
        holders.hold(attempt(0), &[BlobHash([1; 32])]).unwrap();
        for number in 1..=(2 * MAX_HISTORY as u32) {
            holders.hold(attempt(number), &[BlobHash([1; 32])]).unwrap();
            assert_eq!(holders.forget(attempt(number)), []);
        }
        assert!(holders.lines <= MAX_HISTORY + 2);
        drop(holders);
        let mut holders = Holders::open(dir.path()).unwrap();
        assert_eq!(holders.lines, 1);
        assert_eq!(holders.forget(attempt(0)), [BlobHash([1; 32])]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_restart_changes_nothing(steps in prop::collection::vec((0u8..4, 0u32..3, 0u8..3), 0..40)) {
            let dir = tempfile::tempdir().unwrap();
            let mut holders = Holders::open(dir.path()).unwrap();
            for (what, number, blob) in steps {
                let hash = BlobHash([blob; 32]);
                let before = all(&holders);
                let others = |of: &Holders| of.by_attempt.values().any(|hashes| hashes.contains(&hash));
                match what {
                    0 => holders.hold(attempt(number), &[hash]).unwrap(),
                    1 => {
                        let had = before.iter().any(|(it, hashes)| *it == attempt(number) && hashes.contains(&hash));
                        let gone = holders.release(attempt(number), &hash);
                        prop_assert_eq!(gone, had && !others(&holders));
                    }
                    2 => {
                        let gone = holders.forget(attempt(number));
                        prop_assert!(gone.iter().all(|hash| !holders.needs(hash)));
                    }
                    _ => {
                        drop(holders);
                        holders = Holders::open(dir.path()).unwrap();
                        prop_assert_eq!(all(&holders), before);
                    }
                }
                prop_assert_eq!(holders.needs(&hash), others(&holders));
            }
        }
    }
}
