//! RFC 3339 to Unix time: the one thing about calendars that is needed here.

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Since 1970-01-01T00:00:00Z.
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// Reads `2026-01-31T23:59:59.5+01:00`; `None` when the text is no such moment. A leap second counts as the next one.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Moment> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    mark(&mut rest, b"-")?;
    let month = digits(&mut rest, 2)?;
    mark(&mut rest, b"-")?;
    let day = digits(&mut rest, 2)?;
    mark(&mut rest, b"Tt ")?;
    let hour = digits(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let minute = digits(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let second = digits(&mut rest, 2)?;
    let nanos = if mark(&mut rest, b".").is_some() { fraction(&mut rest)? } else { 0 };
    let offset = match mark(&mut rest, b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let hours = digits(&mut rest, 2)?;
            mark(&mut rest, b":")?;
            let minutes = digits(&mut rest, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if sign == b'-' { -1 } else { 1 }
        }
        _ => 0,
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range || !rest.is_empty() {
        return None;
    }
    Some(Moment {
        seconds: days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset,
        nanos,
    })
}

fn mark(rest: &mut &[u8], any_of: &[u8]) -> Option<u8> {
    let (&first, after) = rest.split_first()?;
    if !any_of.contains(&first) {
        return None;
    }
    *rest = after;
    Some(first)
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (head, after) = rest.split_at_checked(count)?;
    *rest = after;
    head.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// At least one digit; what is finer than a nanosecond is dropped.
fn fraction(rest: &mut &[u8]) -> Option<u32> {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, after) = rest.split_at(count);
    *rest = after;
    let nine = head.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    (count > 0).then(|| nine.fold(0, |value, byte| value * 10 + u32::from(byte - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        parse_rfc3339(text).map(|moment| moment.seconds)
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2026-11-22 20:39:00+01:30"), Some(1_795_374_540));
        assert_eq!(seconds("1969-12-31t23:59:59z"), Some(-1));
        assert_eq!(seconds("0000-01-01T00:00:00Z"), Some(-62_167_219_200));
        assert_eq!(seconds("9999-12-31T23:59:60-00:00"), Some(253_402_300_800));
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00.0250Z").map(|moment| moment.nanos), Some(25_000_000));
        assert_eq!(
            parse_rfc3339("1970-01-01T00:00:00.1234567899Z").map(|moment| moment.nanos),
            Some(123_456_789)
        );
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = days(1599, 12, 31);
        for year in 1600..2401 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days(year, month, day), last + 1, "{year}-{month}-{day}");
                    last += 1;
                }
            }
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zz",
            "2026-01-01T00:00:00+24:00",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:0é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
