//! An index in the making, which is also the state that a checkpoint saves.

use crate::segment::{Document, LONGEST_NAME, LONGEST_TERM, Posting, Segment, Term};
use mesh_guest::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything added so far. Documents are numbered as they come; what is replaced goes only at the end, when all is known.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Builder {
    inputs: Vec<String>,
    done: usize,
    /// Name and number of tokens.
    documents: Vec<(String, u64)>,
    /// Document and count, by document.
    terms: BTreeMap<String, Vec<(u32, u32)>>,
}

/// What was left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Documents with a later one of the same name.
    pub(crate) replaced: usize,
    /// Documents named by `delete`.
    pub(crate) deleted: usize,
}

impl Builder {
    /// Nothing added yet, these to come.
    pub(crate) fn new(inputs: Vec<String>) -> Self {
        Self { inputs, done: 0, documents: Vec::new(), terms: BTreeMap::new() }
    }

    /// This one, if it was made of the first of these inputs.
    ///
    /// # Errors
    /// Failed, when it was not.
    pub(crate) fn fits(self, inputs: &[String]) -> Result<Self> {
        if self.inputs != inputs || self.done > inputs.len() {
            return Err(Error::failed(
                "cannot resume: the checkpoint is of other inputs; run the task afresh",
            ));
        }
        Ok(self)
    }

    /// How many inputs were added.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    fn number(&self) -> Result<u32> {
        u32::try_from(self.documents.len())
            .map_err(|_| Error::failed("cannot number more than 2³² documents"))
    }

    /// Adds a text under its name. Terms are runs of letters and digits, in lower case; longer ones than a term may be are no
    /// words that anybody looks for.
    pub(crate) fn add_text(&mut self, name: &str, text: &str) -> Result<()> {
        if name.len() > LONGEST_NAME {
            return Err(Error::invalid_input(format!("the name {name} has over {LONGEST_NAME} bytes")));
        }
        let document = self.number()?;
        let mut tokens = 0;
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            let term = word.to_lowercase();
            if term.is_empty() || term.len() > LONGEST_TERM {
                continue;
            }
            tokens += 1;
            let postings = self.terms.entry(term).or_default();
            match postings.last_mut() {
                Some((last, count)) if *last == document => *count = count.saturating_add(1),
                _ => postings.push((document, 1)),
            }
        }
        self.documents.push((name.to_owned(), tokens));
        self.done += 1;
        Ok(())
    }

    /// Adds all documents of an index.
    pub(crate) fn add_segment(&mut self, segment: Segment) -> Result<()> {
        let first = self.number()?;
        self.documents.extend(segment.documents.into_iter().map(|document| (document.name, document.tokens)));
        self.number()?;
        for term in segment.terms {
            let moved = term.postings.into_iter().map(|posting| (first + posting.document, posting.count));
            self.terms.entry(term.text).or_default().extend(moved);
        }
        self.done += 1;
        Ok(())
    }

    /// The index of the last document of each name, but for those to delete.
    ///
    /// # Errors
    /// Failed, when the state that this was restored from is not whole.
    pub(crate) fn finish(self, delete: &[String]) -> Result<(Segment, Counts)> {
        let mut last = BTreeMap::new();
        for (index, (name, _)) in self.documents.iter().enumerate() {
            last.insert(name.as_str(), index);
        }
        let replaced = self.documents.len() - last.len();
        let deleted = delete
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|name| last.remove(name.as_str()).is_some());
        let counts = Counts { replaced, deleted: deleted.count() };

        let mut documents = Vec::with_capacity(last.len());
        let mut numbers = vec![None; self.documents.len()];
        for ((name, index), number) in last.into_iter().zip(0_u32..) {
            documents.push(Document { name: name.to_owned(), tokens: self.documents[index].1 });
            numbers[index] = Some(number);
        }
        let mut terms = Vec::new();
        for (text, old) in self.terms {
            let mut postings = Vec::with_capacity(old.len());
            for (document, count) in old {
                let number = numbers.get(document as usize).filter(|_| count > 0);
                let number =
                    number.ok_or_else(|| Error::failed("cannot resume: the checkpoint is not whole"))?;
                postings.extend(number.map(|document| Posting { document, count }));
            }
            postings.sort_unstable_by_key(|posting| posting.document);
            if postings.windows(2).any(|pair| pair[0].document == pair[1].document) {
                return Err(Error::failed("cannot resume: the checkpoint is not whole"));
            }
            if !postings.is_empty() {
                terms.push(Term { text, postings });
            }
        }
        Ok((Segment { documents, terms }, counts))
    }
}
