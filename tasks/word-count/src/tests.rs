//! The task, natively.
// spec: SDK-5

use super::*;
use mesh_guest::testing::TestRun;
use std::io::{Cursor, Read};

fn count_of(text: &str) -> Counts {
    let text = text.to_owned();
    TestRun::new().run(|ctx| task(ctx, Stream::new(Cursor::new(text)))).result.unwrap()
}

fn top(counts: &Counts) -> Vec<(&str, u64)> {
    counts.top.iter().map(|ranked| (ranked.word.as_str(), ranked.count)).collect()
}

#[test]
fn a_text_is_counted() {
    let counts = count_of("The cat,\nthe dög: the \"cat\"\n  --  end");
    assert_eq!((counts.lines, counts.words, counts.characters, counts.bytes), (2, 8, 37, 38));
    assert_eq!(top(&counts), [("the", 3), ("cat", 2), ("dög", 1), ("end", 1)]);
    assert_eq!(counts.top_error, 0);
}

#[test]
fn nothing_counts_as_nothing() {
    assert_eq!(count_of(""), Counts::default());
    assert_eq!(count_of(" \n\t").words, 0);
}

/// Gives a byte at a time, so that every word crosses blocks.
struct Slow(Cursor<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = buf.len().min(1);
        self.0.read(&mut buf[..most])
    }
}

#[test]
fn blocks_do_not_matter() {
    let text = "one two  three\nééé one\n".repeat(50);
    let slow = Slow(Cursor::new(text.clone().into_bytes()));
    let counts = TestRun::new().run(|ctx| task(ctx, Stream::new(slow))).result.unwrap();
    assert_eq!(counts, count_of(&text));
    assert_eq!(counts.words, 250);
}

#[test]
fn a_word_longer_than_a_word_is_counted_but_not_ranked() {
    let counts = count_of(&format!("{} short {}", "x".repeat(100_000), "y".repeat(LONGEST_WORD)));
    assert_eq!(counts.words, 3);
    assert_eq!(counts.top.len(), 2);
}

#[test]
fn bytes_that_are_no_text_do_not_stop_it() {
    let counts =
        TestRun::new().run(|ctx| task(ctx, Stream::new(&[b'a', 0xff, b' ', 0xfe][..]))).result.unwrap();
    assert_eq!((counts.words, counts.bytes), (2, 4));
}

#[test]
fn progress_is_told_each_megabyte_and_at_the_end() {
    let run = TestRun::new().run(|ctx| task(ctx, Stream::new(std::io::repeat(b'a').take(3_200_000))));
    run.result.unwrap();
    assert_eq!(run.progress.len(), 4);
    assert!(run.progress.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn a_full_table_keeps_frequent_words_and_bounds_its_error() {
    let mut text = String::new();
    for n in 0..2000 {
        text.push_str(&format!("rare{n} often "));
        if n % 2 == 0 {
            text.push_str("second ");
        }
    }
    let counts = TestRun::new().run(|ctx| count(ctx, Stream::new(Cursor::new(text)), Ranking::new(50)));
    let counts = counts.result.unwrap();
    assert!(counts.top_error > 0);
    for (ranked, (word, real)) in counts.top.iter().zip([("often", 2000), ("second", 1000)]) {
        assert_eq!(ranked.word, word);
        assert!(ranked.count <= real && ranked.count + counts.top_error >= real, "{counts:?}");
    }
}
