//! Text that strangers wrote, made fit for a person's terminal.

/// Replaces everything that could steer a terminal or reorder what is read: control characters (escape, bell, C1),
/// bidirectional overrides and line separators. Line feeds and tabs stay when `lines` is true.
// spec: SBX-11
pub fn sanitise(text: &str, lines: bool) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' if lines => c,
            _ if c.is_control() => '\u{fffd}',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}' => {
                '\u{fffd}'
            }
            '\u{2028}' | '\u{2029}' | '\u{feff}' => '\u{fffd}',
            _ => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-11
    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let hostile = "a\x1b[31mred\x07\u{9b}2J\u{202e}txt\r\nb\tc";
        let clean = sanitise(hostile, true);
        assert_eq!(clean, "a\u{fffd}[31mred\u{fffd}\u{fffd}2J\u{fffd}txt\u{fffd}\nb\tc");
        assert!(!sanitise(hostile, false).contains(['\n', '\t']));
        assert_eq!(sanitise("Grüße, 世界 🌞", false), "Grüße, 世界 🌞");
    }

    // spec: SBX-11
    #[test]
    fn nothing_that_breaks_a_line_or_turns_it_round_is_left() {
        // Unicode's marks, embeddings, overrides and isolates of direction, its two separators, and what has no width.
        let turn =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for c in turn.chars().chain("\u{2028}\u{2029}\u{feff}".chars()) {
            for lines in [true, false] {
                assert_eq!(sanitise(&format!("a{c}b"), lines), "a\u{fffd}b", "{c:?}");
            }
        }
    }
}
