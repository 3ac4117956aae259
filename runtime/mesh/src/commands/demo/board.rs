//! The demo's face: a table that is drawn anew in place on a terminal, plain lines elsewhere.
// spec: CLI-6, CLI-4

use crate::commands::print;
use crate::failure::Result;
use mesh_protocol::text::sanitise;
use std::collections::VecDeque;
use std::io;

/// Things that happened and are still shown above the table on a terminal: as many as fit on the smallest of them.
const RECENT: usize = 8;
/// A terminal that does not say how large it is: the size of the first of them.
const USUAL: (usize, usize) = (80, 24);

/// Who has which energy and does what.
pub(super) struct Row {
    pub(super) peer: String,
    pub(super) energy: String,
    pub(super) does: String,
}

/// How a task is.
pub(super) struct Line {
    pub(super) task: String,
    pub(super) level: String,
    pub(super) owner: String,
    pub(super) state: String,
    pub(super) why: String,
}

/// What is shown.
#[derive(Default)]
pub(super) struct Board {
    terminal: bool,
    recent: VecDeque<String>,
    /// Lines of the picture that stands there.
    drawn: usize,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { terminal: rustix::termios::isatty(io::stdout()), ..Self::default() }
    }

    /// Something happened: told at once, or with the next picture.
    pub(super) fn say(&mut self, line: String) -> Result<()> {
        if !self.terminal {
            return print(&format!("{line}\n"));
        }
        self.recent.push_back(line);
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Ok(())
    }

    pub(super) fn show(&mut self, title: &str, peers: &[Row], tasks: &[Line]) -> Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let size = size.filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(USUAL);
        let text = self.picture(size, title, peers, tasks);
        print(&text)
    }

    /// The next picture, and before it what takes the last one away.
    fn picture(&mut self, size: (usize, usize), title: &str, peers: &[Row], tasks: &[Line]) -> String {
        let (columns, rows) = size;
        let mut lines = vec![title.to_owned(), format!("{:<6} {:<38} AT WORK ON", "PEER", "ENERGY NOW")];
        lines.extend(peers.iter().map(|it| format!("{:<6} {:<38} {}", it.peer, it.energy, it.does)));
        lines.push(format!("{:<20} {:<10} {:<6} {:<10} WHY", "TASK", "LEVEL", "OF", "STATE"));
        lines.extend(tasks.iter().map(|it| {
            format!("{:<20} {:<10} {:<6} {:<10} {}", it.task, it.level, it.owner, it.state, it.why)
        }));
        lines.push("WHAT HAPPENED LAST".into());
        lines.extend(self.recent.iter().cloned());
        // What does not fit above the cursor cannot be taken away again.
        lines.truncate(rows.saturating_sub(1).max(1));
        let mut text = match self.drawn {
            0 => String::new(),
            // Up to where the last one began, and everything from there on is wiped.
            drawn => format!("\x1b[{drawn}A\x1b[J"),
        };
        for line in &lines {
            text.push_str(&cut(&sanitise(line, false), columns.saturating_sub(1).max(1)));
            text.push('\n');
        }
        self.drawn = lines.len();
        text
    }
}

/// A line that folds over would take the place of two.
fn cut(line: &str, most: usize) -> String {
    match line.chars().count() > most {
        true => line.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(energy: &str) -> Row {
        Row { peer: "alice".into(), energy: energy.into(), does: "-".into() }
    }

    fn line(why: &str) -> Line {
        Line {
            task: "draw a picture".into(),
            level: "ECO".into(),
            owner: "bob".into(),
            state: "waiting".into(),
            why: why.into(),
        }
    }

    // spec: CLI-6
    #[test]
    fn a_picture_takes_the_one_before_it_away_and_never_folds_over() {
        let mut board = Board { terminal: true, ..Board::default() };
        let first = board.picture((60, 24), "day 1", &[row("sun")], &[line(&"long ".repeat(40))]);
        assert!(!first.contains('\x1b') && first.lines().all(|line| line.chars().count() < 60), "{first}");
        assert!(first.contains('…') && first.lines().count() == 6);
        board.say("somebody \x1b[2Jsaid so".into()).unwrap();
        let second = board.picture((60, 24), "day 1", &[row("sun")], &[line("short")]);
        let rest = second.strip_prefix("\x1b[6A\x1b[J").unwrap();
        assert!(rest.ends_with("said so\n") && !rest.contains('\x1b'), "{rest}");
        assert_eq!(board.drawn, 7);
        let low = board.picture((60, 4), "day 1", &[row("sun")], &[line("short")]);
        assert_eq!(low.lines().count(), 3, "the cursor stays below it");
        for number in 0..100 {
            board.say(number.to_string()).unwrap();
        }
        assert_eq!(board.recent.len(), RECENT);
    }
}
