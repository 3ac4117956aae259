//! An index as a file.
//!
//! | part | bytes |
//! | --- | --- |
//! | magic | `MESHIDX1` |
//! | number of documents | varint |
//! | each document, by name | length of its name, name, its number of tokens |
//! | number of terms | varint |
//! | each term, in order | bytes shared with the term before, length of the rest, the rest, number of postings |
//! | each posting of a term, by document | document's number less the one before less 1 (the first one's own), count less 1 |
//!
//! Every number is a varint: seven bits a byte, lowest first, the high bit set on all but the last. There is one way only
//! to write an index.

use mesh_guest::{Error, Result};

const MAGIC: &[u8] = b"MESHIDX1";
/// Longest term, in bytes.
pub(crate) const LONGEST_TERM: usize = 64;
/// Longest name of a document, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// A document in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) tokens: u64,
}

/// That a term stands in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Index into the documents.
    pub(crate) document: u32,
    /// How often, at least once.
    pub(crate) count: u32,
}

/// A term and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) text: String,
    pub(crate) postings: Vec<Posting>,
}

/// An index: documents by name, terms in order, postings by document, none of them twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) documents: Vec<Document>,
    pub(crate) terms: Vec<Term>,
}

impl Segment {
    /// Writes it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        put(&mut to, self.documents.len() as u64);
        for document in &self.documents {
            put(&mut to, document.name.len() as u64);
            to.extend(document.name.as_bytes());
            put(&mut to, document.tokens);
        }
        put(&mut to, self.terms.len() as u64);
        let mut last: &[u8] = &[];
        for term in &self.terms {
            let text = term.text.as_bytes();
            let shared = text.iter().zip(last).take_while(|(a, b)| a == b).count();
            put(&mut to, shared as u64);
            put(&mut to, (text.len() - shared) as u64);
            to.extend(&text[shared..]);
            put(&mut to, term.postings.len() as u64);
            let mut next = 0;
            for posting in &term.postings {
                put(&mut to, u64::from(posting.document - next));
                put(&mut to, u64::from(posting.count - 1));
                next = posting.document + 1;
            }
            last = text;
        }
        to
    }

    /// Reads one that anybody may have made.
    ///
    /// # Errors
    /// Invalid input, saying what is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("it does not begin like one"))?;
        let mut from = Reader(rest);
        // Nothing is reserved for a count that the file only claims.
        let mut documents: Vec<Document> = Vec::new();
        for _ in 0..from.number()? {
            let len = from.size(LONGEST_NAME)?;
            let name = text(from.take(len)?.to_vec())?;
            if documents.last().is_some_and(|last| last.name >= name) {
                return Err(wrong("its documents are not in order"));
            }
            documents.push(Document { name, tokens: from.number()? });
        }
        let count = u32::try_from(documents.len()).map_err(|_| wrong("it has too many documents"))?;
        let mut terms: Vec<Term> = Vec::new();
        for _ in 0..from.number()? {
            let last = terms.last().map_or(&[][..], |term| term.text.as_bytes());
            let shared = from.size(last.len())?;
            let rest = from.size(LONGEST_TERM - shared)?;
            let text = text([&last[..shared], from.take(rest)?].concat())?;
            if text.as_bytes() <= last {
                return Err(wrong("its terms are not in order"));
            }
            terms.push(Term { text, postings: from.postings(count)? });
        }
        if !from.0.is_empty() {
            return Err(wrong("something follows its end"));
        }
        Ok(Self { documents, terms })
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid_input(what)
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| wrong("a name or term is not UTF-8"))
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or_else(|| wrong("it is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // What is shifted out would be lost, and a last byte of 0 would be a second way to write the number.
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(wrong("a number in it is malformed"))
    }

    fn size(&mut self, most: usize) -> Result<usize> {
        let size = self.number()?;
        usize::try_from(size)
            .ok()
            .filter(|&size| size <= most)
            .ok_or_else(|| wrong("a length in it is too large"))
    }

    fn postings(&mut self, documents: u32) -> Result<Vec<Posting>> {
        let mut postings = Vec::new();
        let mut next = 0_u64;
        for _ in 0..self.number()? {
            let document = next.checked_add(self.number()?).and_then(|document| u32::try_from(document).ok());
            let document = document.filter(|&document| document < documents);
            let document = document.ok_or_else(|| wrong("a posting is of no document"))?;
            let count = u32::try_from(self.number()?).ok().and_then(|less| less.checked_add(1));
            postings.push(Posting { document, count: count.ok_or_else(|| wrong("a count is too large"))? });
            next = u64::from(document) + 1;
        }
        if postings.is_empty() {
            return Err(wrong("a term stands nowhere"));
        }
        Ok(postings)
    }
}
