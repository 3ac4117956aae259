//! What one line of a table says, as far as cleaning it needs to know.

use crate::time::{Moment, parse_rfc3339};
use serde::Deserialize;
use serde_json::Number;

/// A line that is a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// As JSON, so that the text "1" and the number 1 differ.
    pub(crate) id: String,
    pub(crate) updated: Moment,
    pub(crate) deleted: bool,
}

#[derive(Deserialize)]
struct Line {
    id: TextOrNumber,
    updated: TextOrNumber,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(Number),
    Text(String),
}

/// Reads a line; `None` when it is no record. A record without a time is none: nobody could say what supersedes it.
pub(crate) fn parse(line: &[u8]) -> Option<Record> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let id = match line.id {
        TextOrNumber::Number(number) => number.to_string(),
        TextOrNumber::Text(text) => serde_json::to_string(&text).ok()?,
    };
    let updated = match line.updated {
        TextOrNumber::Number(number) => Moment { seconds: number.as_i64()?, nanos: 0 },
        TextOrNumber::Text(text) => parse_rfc3339(&text)?,
    };
    Some(Record { id, updated, deleted: line.deleted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment { seconds, nanos: 0 }
    }

    #[test]
    fn records_are_read_whatever_else_they_hold() {
        let got = parse(br#" {"x": [1], "id": "a", "updated": 5, "deleted": true}"#);
        assert_eq!(got, Some(Record { id: "\"a\"".into(), updated: at(5), deleted: true }));
        let got = parse(br#"{"id": 7, "updated": "1970-01-01T00:01:00Z"}"#);
        assert_eq!(got, Some(Record { id: "7".into(), updated: at(60), deleted: false }));
    }

    #[test]
    fn other_lines_are_none() {
        let lines: [&[u8]; 8] = [
            b"",
            b"nothing",
            b"[1]",
            br#"{"id": "a"}"#,
            br#"{"updated": 5}"#,
            br#"{"id": null, "updated": 5}"#,
            br#"{"id": "a", "updated": "yesterday"}"#,
            br#"{"id": "a", "updated": 5} {"id": "b"}"#,
        ];
        for line in lines {
            assert_eq!(parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
