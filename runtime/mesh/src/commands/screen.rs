//! What a person sees while a task runs: its output made harmless, its progress out of the way.
// spec: CLI-4, SBX-11

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mesh_protocol::text::sanitise;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// One of our own streams, with a task's bytes passed on to it: as they are to a file or a program, made harmless to a
/// person's terminal.
// spec: SBX-11
pub(super) struct Passed<W> {
    stream: W,
    terminal: bool,
    /// The beginning of a character whose rest has not come yet.
    begun: Vec<u8>,
}

impl<W: Write + AsFd> Passed<W> {
    pub(super) fn new(stream: W) -> Self {
        let terminal = rustix::termios::isatty(&stream);
        Self { stream, terminal, begun: Vec::new() }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.terminal {
            self.stream.write_all(bytes)?;
            return self.stream.flush();
        }
        self.begun.extend_from_slice(bytes);
        let whole = whole_characters(&self.begun);
        let text: Vec<u8> = self.begun.drain(..whole).collect();
        let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
        self.stream.write_all(sanitise(&text, true).as_bytes())?;
        self.stream.flush()
    }
}

/// How many bytes come before a character that is cut off at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(3);
    let start = (last..bytes.len()).rev().find(|&at| bytes[at] >= 0xc0);
    match start {
        Some(at) if std::str::from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none()) => at,
        _ => bytes.len(),
    }
}

/// What is shown while a task runs: a bar on a terminal, lines elsewhere.
pub(super) struct Screen {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: Option<u16>,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && rustix::termios::isatty(io::stderr())).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, quiet, last: None }
    }

    /// The bar, for whoever must clear it from another thread.
    pub(super) fn bar(&self) -> Option<ProgressBar> {
        self.bar.clone()
    }

    pub(super) fn progress(&mut self, permille: u16, note: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(note.to_owned());
                bar.set_position(permille.into());
            }
            None if self.quiet => {}
            // Elsewhere a line for every twentieth is enough.
            None if self.last.is_some_and(|last| last / 50 == permille / 50) => {}
            None => {
                self.last = Some(permille);
                crate::say!("{}", format!("progress: {:>3} % {note}", permille / 10).trim_end());
            }
        }
    }

    pub(super) fn log(&self, level: u8, text: &str) {
        let level = ["error", "warn", "info", "debug"][usize::from(level.min(3))];
        let _written = self.aside(|| {
            // Each line is marked, so that no task can put words into our mouth.
            text.lines().for_each(|line| crate::say!("task {level}: {line}"));
            Ok(())
        });
    }

    /// Writes while no bar is in the way.
    pub(super) fn aside(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match &self.bar {
            Some(bar) if bar.position() > 0 => bar.suspend(write),
            _ => write(),
        }
    }

    /// Says something of ours.
    pub(super) fn tell(&self, text: &str) {
        let _written = self.aside(|| {
            crate::say!("{text}");
            Ok(())
        });
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-11
    #[test]
    fn a_character_that_is_cut_off_waits_for_its_rest() {
        let sun = "x🌞".as_bytes();
        assert_eq!([1, 2, 3, 4, 5].map(|len| whole_characters(&sun[..len])), [1, 1, 1, 1, 5]);
        assert_eq!(whole_characters(b"\xff\xfe"), 2, "what is no character at all does not wait");
        assert_eq!(whole_characters(b""), 0);
    }
}
