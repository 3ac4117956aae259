//! The task, natively.
// spec: SDK-5

use super::*;
use mesh_guest::ErrorKind;
use mesh_guest::testing::{Outcome, TestRun};
use segment::{Document, Posting, Term};
use std::collections::BTreeMap;

fn index<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a [u8])>, delete: &[&str]) -> Outcome<Stats> {
    let run = inputs.into_iter().fold(TestRun::new(), |run, (name, bytes)| run.input_file(name, bytes));
    let delete = delete.iter().map(|&name| name.to_owned()).collect();
    run.run(|ctx| task(ctx, Some(Params { delete })))
}

fn bin(run: &Outcome<Stats>) -> Vec<u8> {
    assert!(run.result.is_ok(), "{:?}", run.result);
    run.files["index.bin"].clone()
}

/// Names of the documents with a term, and how often it stands there.
fn find(bytes: &[u8], term: &str) -> Vec<(String, u32)> {
    let Segment { documents, terms } = Segment::decode(bytes).unwrap();
    let Ok(at) = terms.binary_search_by(|other| other.text.as_str().cmp(term)) else { return Vec::new() };
    let named = |posting: &Posting| (documents[posting.document as usize].name.clone(), posting.count);
    terms[at].postings.iter().map(named).collect()
}

fn pairs(list: &[(&str, u32)]) -> Vec<(String, u32)> {
    list.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

const B: (&str, &[u8]) = ("b.txt", "The cat sat. The CAT!".as_bytes());
const A: (&str, &[u8]) = ("a.txt", "A cat – größer als 2 dogs".as_bytes());

#[test]
fn texts_are_found_by_their_terms() {
    let run = index([B, A], &[]);
    let bytes = bin(&run);
    assert_eq!(find(&bytes, "cat"), pairs(&[("a.txt", 1), ("b.txt", 2)]));
    assert_eq!(find(&bytes, "größer"), pairs(&[("a.txt", 1)]));
    assert_eq!(find(&bytes, "cow"), []);
    let json = String::from_utf8(run.files["index.json"].clone()).unwrap();
    assert_eq!(json, serde_json::to_string(run.result.as_ref().unwrap()).unwrap());
    let want = Stats {
        documents: 2,
        terms: 8,
        postings: 9,
        tokens: 11,
        bytes: bytes.len(),
        segments: 0,
        texts: 2,
        replaced: 0,
        deleted: 0,
    };
    assert_eq!(run.result.unwrap(), want);
}

#[test]
fn merging_gives_the_same_bytes_as_indexing_at_once() {
    let (one, two) = (bin(&index([B], &[])), bin(&index([A], &[])));
    let merged = bin(&index([("1.idx", &one[..]), ("2.idx", &two[..])], &[]));
    assert_eq!(merged, bin(&index([A, B], &[])));
    assert_eq!(bin(&index([("again.idx", &merged[..])], &[])), merged);
    assert_eq!(bin(&index([("1.idx", &one[..]), A], &[])), merged);
}

#[test]
fn replaced_and_deleted_documents_leave_no_trace() {
    let old = bin(&index([A, B], &[]));
    let run = index([("z.idx", &old[..]), ("b.txt", b"new words")], &["a.txt", "a.txt", "unknown"]);
    let bytes = bin(&run);
    assert_eq!(bytes, bin(&index([("b.txt", &b"new words"[..])], &[])));
    let stats = run.result.unwrap();
    assert_eq!((stats.replaced, stats.deleted, stats.documents, stats.terms), (1, 1, 1, 2));
}

#[test]
fn nothing_makes_an_empty_index() {
    let bytes = bin(&index([], &[]));
    assert_eq!(Segment::decode(&bytes).unwrap(), Segment::default());
}

// spec: SDK-6
#[test]
fn an_interrupted_index_is_the_same_to_the_byte() {
    let segment = bin(&index([A, B], &[]));
    let inputs = || {
        let run = TestRun::new().input_file("s.idx", &segment).input_file("t.idx", &segment);
        run.input_file("b.txt", "later words").input_file("c.txt", "more words")
    };
    let whole = inputs().run(|ctx| task(ctx, None));
    assert_eq!(whole.checkpoints.len(), 2, "one after each index");
    let mut states = whole.checkpoints.clone();
    for polls in 0..4 {
        let stopped = inputs().stop_after(polls).run(|ctx| task(ctx, None));
        assert_eq!(stopped.result.unwrap_err().kind(), ErrorKind::Stopped);
        states.extend(stopped.checkpoints.last().cloned());
    }
    assert_eq!(states.len(), 6);
    for state in states {
        let resumed = inputs().resume_bytes(state.clone()).run(|ctx| task(ctx, None));
        assert_eq!(resumed.files, whole.files);
        let other = TestRun::new().resume_bytes(state).run(|ctx| task(ctx, None));
        assert!(other.result.unwrap_err().message().contains("other inputs"));
    }
}

#[test]
fn a_state_too_large_to_save_does_not_stop_the_work() {
    let run = TestRun::new().checkpoint_bytes(4).input_file("a.idx", bin(&index([A], &[])));
    let run = run.run(|ctx| task(ctx, None));
    assert!(run.result.is_ok());
    assert_eq!(run.logs.len(), 1);
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(most)) as u32
    }

    fn word(&mut self) -> String {
        (0..=self.below(4)).map(|_| ['a', 'b', 'é', '語'][self.below(4) as usize]).collect()
    }

    fn segment(&mut self) -> Segment {
        let names: BTreeMap<String, u64> =
            (0..self.below(20)).map(|_| (self.word(), u64::from(self.below(1 << 30)))).collect();
        let documents: Vec<Document> =
            names.into_iter().map(|(name, tokens)| Document { name, tokens }).collect();
        let mut terms = BTreeMap::new();
        for _ in 0..if documents.is_empty() { 0 } else { self.below(40) } {
            let mut postings = BTreeMap::new();
            for _ in 0..=self.below(10) {
                postings.insert(self.below(documents.len() as u32), 1 + self.below(300));
            }
            terms.insert(self.word(), postings);
        }
        let posting = |(document, count)| Posting { document, count };
        let term = |(text, postings): (_, BTreeMap<_, _>)| Term {
            text,
            postings: postings.into_iter().map(posting).collect(),
        };
        Segment { documents, terms: terms.into_iter().map(term).collect() }
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut random = Random(7);
    for _ in 0..300 {
        let segment = random.segment();
        let bytes = segment.encode();
        assert_eq!(Segment::decode(&bytes).unwrap(), segment);
    }
}

/// There is one way to write an index: whatever is read writes as the same bytes, and nothing makes the reader panic.
#[test]
fn broken_segments_are_refused_or_mean_what_they_say() {
    let mut random = Random(9);
    for _ in 0..300 {
        let mut bytes = random.segment().encode();
        for end in 0..bytes.len() {
            assert!(Segment::decode(&bytes[..end]).is_err());
        }
        for _ in 0..20 {
            let at = random.below(bytes.len() as u32) as usize;
            bytes[at] = random.below(256) as u8;
            if let Ok(segment) = Segment::decode(&bytes) {
                assert_eq!(segment.encode(), bytes);
            }
        }
    }
}

#[test]
fn a_broken_segment_is_named() {
    let error = index([("bad.idx", &b"MESHIDX1\x01"[..])], &[]).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("bad.idx") && error.message().contains("cut off"), "{error}");
}
