//! A table of `mesh.toml`, read key by key. What was not asked for when its reader is done is unknown, and an error with
//! its line and the nearest key that there is.
// spec: CLI-7

use super::{Wrong, nearest};
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A table, and which of its keys were asked for.
pub(crate) struct Table<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    /// Where it begins.
    pub(crate) line: usize,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and its line.
pub(crate) type At<T> = (T, usize);

/// The line of a place in a text.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// A value as the text that a flag would take; none if it is a table or a list of anything but that.
pub(crate) fn plain(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

impl<'a> Table<'a> {
    pub(crate) fn new(text: &'a str, table: &'a DeTable<'a>, at: usize) -> Self {
        Self { text, table, line: line_of(text, at), asked: RefCell::default() }
    }

    fn entry(&self, key: &'static str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.asked.borrow_mut().push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn line_at(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_of(self.text, value.span().start)
    }

    /// A value that is no table and no list, as text.
    pub(crate) fn said(&self, key: &'static str) -> Result<Option<At<String>>, Wrong> {
        let Some((_, value)) = self.entry(key) else { return Ok(None) };
        let line = self.line_at(value);
        let said = plain(value.get_ref()).ok_or_else(|| {
            Wrong::at(line, format!("{key} is a {}, not one value", value.get_ref().type_str()), None)
        })?;
        Ok(Some((said, line)))
    }

    /// A text that must be there.
    pub(crate) fn needs(&self, key: &'static str, such_as: &str) -> Result<At<String>, Wrong> {
        let hint = format!("add {key} = {such_as:?}");
        self.said(key)?.ok_or_else(|| Wrong::at(self.line, format!("{key} is missing"), Some(hint)))
    }

    /// A value that some reader takes.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        reader: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Wrong> {
        let Some((said, line)) = self.said(key)? else { return Ok(None) };
        let read = reader(&said);
        read.map(Some).map_err(|why| Wrong::at(line, format!("{key} = {said:?}: {why}"), None))
    }

    /// A value of any kind, and its key's line.
    pub(crate) fn value(&self, key: &'static str) -> Option<At<&'a Spanned<DeValue<'a>>>> {
        self.entry(key).map(|(name, value)| (value, line_of(self.text, name.span().start)))
    }

    /// A table inside.
    pub(crate) fn table(&self, key: &'static str) -> Result<Option<Self>, Wrong> {
        let Some((name, value)) = self.entry(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Self::new(self.text, table, name.span().start))),
            other => {
                let why = format!("{key} is a {}, not a table", other.type_str());
                Err(Wrong::at(self.line_at(value), why, None))
            }
        }
    }

    /// All its keys with their lines.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'a str, usize, &'a Spanned<DeValue<'a>>)> {
        let text = self.text;
        self.table
            .iter()
            .map(move |(name, value)| (name.get_ref().as_ref(), line_of(text, name.span().start), value))
    }

    /// A table that is a value here.
    pub(crate) fn inside(&self, value: &'a Spanned<DeValue<'a>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(self.text, table, value.span().start)),
            _ => None,
        }
    }

    /// Nothing else may stand in it.
    pub(crate) fn done(&self, of: &str) -> Result<(), Wrong> {
        let asked = self.asked.borrow();
        match self.keys().find(|(name, ..)| !asked.contains(name)) {
            None => Ok(()),
            Some((name, line, _)) => {
                let known = asked.iter().copied();
                let hint = match nearest(name, known.clone()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
                };
                Err(Wrong::at(line, format!("{of} has no key {name:?}"), Some(hint)))
            }
        }
    }
}
