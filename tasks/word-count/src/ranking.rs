//! The most frequent words in bounded memory: an exact count until the table is full, then the summary of Misra and Gries,
//! which forgets the rarer half and remembers how much it may be wrong.

use serde::Serialize;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A word and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ranked {
    /// In lower case.
    pub(crate) word: String,
    /// At most `error` too low.
    pub(crate) count: u64,
}

/// Counts words.
#[derive(Debug)]
pub(crate) struct Ranking {
    most: usize,
    // A fixed hasher: the usual one would ask the host for randomness, and the task needs none.
    counts: HashMap<Box<str>, u64, BuildHasherDefault<DefaultHasher>>,
    error: u64,
}

impl Ranking {
    /// Keeps at most `most` distinct words, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), counts: HashMap::default(), error: 0 }
    }

    /// Counts a word.
    pub(crate) fn add(&mut self, word: &str) {
        if let Some(count) = self.counts.get_mut(word) {
            *count += 1;
            return;
        }
        if self.counts.len() == self.most {
            self.forget();
        }
        self.counts.insert(word.into(), 1);
    }

    /// Takes the median count off every word and drops those left with none: half the table at the least.
    fn forget(&mut self) {
        let mut all: Vec<u64> = self.counts.values().copied().collect();
        let middle = all.len() / 2;
        let (_, &mut median, _) = all.select_nth_unstable(middle);
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(median);
            *count > 0
        });
        self.error += median;
    }

    /// By how much a count may be too low: 0 when all are exact.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    /// The `most` most frequent words, by count, then by word.
    pub(crate) fn top(&self, most: usize) -> Vec<Ranked> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(word, count)| (&**word, *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(most);
        all.into_iter().map(|(word, count)| Ranked { word: word.to_owned(), count }).collect()
    }
}
