//! Counts the lines, words, bytes and characters of its input, and finds its most frequent words.
// spec: SDK-5

mod ranking;
#[cfg(test)]
mod tests;

use mesh_guest::{Context, Result, Stream};
use ranking::{Ranked, Ranking};
use serde::Serialize;
use std::io::BufRead;

/// Distinct words that are counted before rare ones are forgotten.
const MOST_WORDS: usize = 100_000;
/// Words ranked.
const TOP: usize = 10;
/// Longer runs of letters are data, not words: counted, but not ranked.
const LONGEST_WORD: usize = 64;
const PROGRESS_EVERY: u64 = 1_000_000;

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
    characters: u64,
    top: Vec<Ranked>,
    top_error: u64,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Stream) -> Result<Counts> {
    count(ctx, input, Ranking::new(MOST_WORDS))
}

fn count(ctx: &mut Context, mut input: Stream, mut ranking: Ranking) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut word = Word::default();
    let mut said = 0;
    loop {
        let block = input.fill_buf()?;
        if block.is_empty() {
            break;
        }
        for &byte in block {
            counts.lines += u64::from(byte == b'\n');
            // Every byte but those that continue a character.
            counts.characters += u64::from(byte & 0xc0 != 0x80);
            if byte.is_ascii_whitespace() || byte == 0x0b {
                counts.words += u64::from(word.end(&mut ranking));
            } else {
                word.push(byte);
            }
        }
        let len = block.len();
        input.consume(len);
        counts.bytes += len as u64;
        if counts.bytes / PROGRESS_EVERY > said {
            said = counts.bytes / PROGRESS_EVERY;
            // How long the input is, nobody knows: 1 is never reached before its end.
            let fraction = said as f64 / (said as f64 + 100.0);
            ctx.progress(fraction, &format!("{said} MB, {} words", counts.words));
        }
    }
    counts.words += u64::from(word.end(&mut ranking));
    ctx.progress(1.0, "done");
    counts.top = ranking.top(TOP);
    counts.top_error = ranking.error();
    Ok(counts)
}

/// The word being read, which may cross blocks.
#[derive(Debug, Default)]
struct Word {
    bytes: Vec<u8>,
    len: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        // What is over the limit is never looked at, so it is not kept: a word may be as long as the input.
        if self.len <= LONGEST_WORD {
            self.bytes.push(byte);
        }
        self.len += 1;
    }

    /// Ranks the word if there is one, and says whether.
    fn end(&mut self, ranking: &mut Ranking) -> bool {
        let is_word = self.len > 0;
        if is_word && self.len <= LONGEST_WORD {
            let text = String::from_utf8_lossy(&self.bytes);
            let bare = text.trim_matches(|c: char| !c.is_alphanumeric());
            if !bare.is_empty() {
                ranking.add(&bare.to_lowercase());
            }
        }
        self.bytes.clear();
        self.len = 0;
        is_word
    }
}
