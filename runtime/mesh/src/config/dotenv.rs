//! A `.env`: one `NAME=VALUE` a line.
// spec: CLI-7

use super::Wrong;
use std::path::Path;

/// Most bytes of it.
const MAX: u64 = 256 * 1024;

/// A line that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Reads a file; one that is not there sets nothing.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, Wrong> {
    match super::text(path, MAX)? {
        Some(text) => parse(&text),
        None => Ok(Vec::new()),
    }
}

fn parse(text: &str) -> Result<Vec<Line>, Wrong> {
    let lines = text.lines().zip(1..).map(|(text, number)| (text.trim(), number));
    lines
        .filter(|(text, _)| !text.is_empty() && !text.starts_with('#'))
        .map(|(text, number)| line(text, number))
        .collect()
}

fn line(text: &str, number: usize) -> Result<Line, Wrong> {
    let wrong = |why: &str| Wrong::at(number, why, Some("a line is NAME=VALUE".into()));
    let text = text.strip_prefix("export ").unwrap_or(text).trim_start();
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("it has no ="))?;
    let name = name.trim_end();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
        return Err(wrong("its name is none of a variable"));
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let rest = &value[1..];
            let (inside, after) = rest.split_once(quote).ok_or_else(|| wrong("its quote is not closed"))?;
            if !after.trim().is_empty() && !after.trim_start().starts_with('#') {
                return Err(wrong("something stands after its closing quote"));
            }
            inside
        }
        // A comment begins after a space, so that a colour or a fragment can be a value.
        _ => value.split_once(" #").map_or(value, |(value, _)| value.trim_end()),
    };
    Ok(Line { number, name: name.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-7
    #[test]
    fn lines_are_read_as_shells_write_them() {
        let text = "# mine\n\nMESH_ENABLED=true\nexport A = 'b c' # d\nB=\"x#y\"\n  C= d#e # f\nD=\n";
        let lines = parse(text).unwrap();
        let seen: Vec<_> = lines.iter().map(|it| (it.number, it.name.as_str(), it.value.as_str())).collect();
        let all =
            [(3, "MESH_ENABLED", "true"), (4, "A", "b c"), (5, "B", "x#y"), (6, "C", "d#e"), (7, "D", "")];
        assert_eq!(seen, all);
        for (text, line, says) in [
            ("A=1\nB", 2, "no ="),
            ("1A=2", 1, "name"),
            ("=2", 1, "name"),
            ("A-B=2", 1, "name"),
            ("A='b", 1, "quote"),
            ("A='b' c", 1, "after"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.line == Some(line) && wrong.why.contains(says), "{text}: {wrong:?}");
        }
    }
}
