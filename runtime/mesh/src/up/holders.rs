//! Which attempts need which blobs: in memory, and as the lines of one file, which says what changed and is written anew
//! when most of it is history.
// spec: DEL-5

use super::blobs::sync_parent;
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
    /// The file lacks something, or ends in half a line: it has to be written anew before anything is added.
    spoiled: bool,
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
        let (mut lines, mut spoiled) = (0, false);
        for line in String::from_utf8_lossy(&text).split_inclusive('\n') {
            lines += 1;
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
                None => spoiled = true,
            }
        }
        by_attempt.retain(|_, hashes| !hashes.is_empty());
        let mut attempts = BTreeMap::new();
        for hash in by_attempt.values().flatten() {
            *attempts.entry(*hash).or_default() += 1;
        }
        let file = File::options().append(true).create(true).mode(0o600).open(&path)?;
        let holds = by_attempt.values().map(BTreeSet::len).sum();
        let most_lines = most_lines(holds);
        let mut this = Self { by_attempt, attempts, path, file, lines, most_lines, spoiled };
        // A disk that is full keeps nobody from starting.
        if (spoiled || lines > holds)
            && let Err(error) = this.write_anew()
        {
            tracing::warn!(path = %this.path.display(), %error, "the list of blobs that are needed cannot be written anew yet");
        }
        Ok(this)
    }

    /// The attempts for which it holds any.
    pub(super) fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.by_attempt.keys().copied()
    }

    /// Does any attempt need a blob?
    pub(super) fn needs(&self, hash: &BlobHash) -> bool {
        self.attempts.contains_key(hash)
    }

    /// Does this attempt need a blob?
    pub(super) fn holds(&self, attempt: AttemptId, hash: &BlobHash) -> bool {
        self.by_attempt.get(&attempt).is_some_and(|hashes| hashes.contains(hash))
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
        // Not made durable: what is lost is found again by what the node knows, at the next start.
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
        // Whoever made it fail at first has said so.
        let known = self.spoiled;
        if let Err(error) = self.append(&[line])
            && !known
        {
            tracing::warn!(path = %self.path.display(), %error, "a blob stays for longer than it is needed");
        }
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        if self.spoiled {
            return self.write_anew();
        }
        if lines.is_empty() {
            return Ok(());
        }
        // Half of it may be there.
        self.spoiled = true;
        self.file.write_all(text(lines).as_bytes())?;
        self.spoiled = false;
        self.lines += lines.len();
        if self.lines > self.most_lines
            && let Err(error) = self.write_anew()
        {
            tracing::warn!(path = %self.path.display(), %error, "the list of blobs that are needed goes on growing");
            self.most_lines = self.lines + MAX_HISTORY;
        }
        Ok(())
    }

    /// Writes what holds, so that it is there whole whatever happens.
    fn write_anew(&mut self) -> io::Result<()> {
        let needs = |(it, hashes): (&AttemptId, &BTreeSet<BlobHash>)| {
            let needs: Vec<Line> = hashes.iter().map(|hash| Line::Needs(*it, *hash)).collect();
            text(&needs)
        };
        let all: String = self.by_attempt.iter().map(needs).collect();
        let new = self.path.with_extension("new");
        let write = || -> io::Result<File> {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(all.as_bytes())?;
            file.sync_data()?;
            fs::rename(&new, &self.path)?;
            if let Err(error) = sync_parent(&self.path) {
                tracing::warn!(path = %self.path.display(), %error, "the list of blobs that are needed may be an older one after a crash");
            }
            Ok(file)
        };
        self.file = write().inspect_err(|_| drop(fs::remove_file(&new)))?;
        self.lines = all.lines().count();
        self.most_lines = most_lines(self.lines);
        self.spoiled = false;
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

    // spec: LED-8
    #[test]
    fn a_full_disk_loses_nothing_and_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let mut holders = Holders::open(dir.path()).unwrap();
        let blobs = [BlobHash([1; 32]), BlobHash([2; 32])];
        holders.hold(attempt(1), &blobs[..1]).unwrap();
        holders.hold(attempt(2), &blobs[..1]).unwrap();
        let half = "+ 0707";
        holders.file.write_all(half.as_bytes()).unwrap();
        holders.file = File::options().write(true).open("/dev/full").unwrap();
        assert!(holders.hold(attempt(3), &blobs[1..]).is_err());
        // Nor is there room for a new file.
        let new = dir.path().join("holders.new");
        fs::create_dir(&new).unwrap();
        assert!(holders.hold(attempt(3), &blobs[1..]).is_err(), "it is not written yet");
        assert_eq!(holders.forget(attempt(2)), []);
        let on_disk = |dir: &Path| all(&Holders::open(dir).unwrap());
        assert_eq!(on_disk(dir.path()), [(attempt(1), vec![blobs[0]]), (attempt(2), vec![blobs[0]])]);
        fs::remove_dir(&new).unwrap();
        holders.hold(attempt(3), &blobs[1..]).unwrap();
        assert_eq!(on_disk(dir.path()), [(attempt(1), vec![blobs[0]]), (attempt(3), vec![blobs[1]])]);
    }

    #[test]
    fn what_cannot_be_written_anew_goes_on_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("holders.new")).unwrap();
        let mut holders = Holders::open(dir.path()).unwrap();
        for number in 0..=(MAX_HISTORY as u32 / 2) {
            holders.hold(attempt(number), &[BlobHash([1; 32])]).unwrap();
            holders.forget(attempt(number));
        }
        assert!(holders.lines > MAX_HISTORY, "each line was taken");
        holders.hold(attempt(0), &[BlobHash([1; 32])]).unwrap();
        drop(holders);
        assert_eq!(all(&Holders::open(dir.path()).unwrap()), [(attempt(0), vec![BlobHash([1; 32])])]);
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
