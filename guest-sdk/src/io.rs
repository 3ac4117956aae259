//! How an input is read from stdin and a result written to stdout.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Read from stdin a block at a time: one call into the host for each.
const BLOCK: usize = 64 * 1024;

/// What a task can take as its input.
///
/// Every [`serde::Deserialize`] type that borrows nothing, read as one JSON value. Blank input counts as `null`, so that
/// `()` takes no input and an `Option` makes it optional. And the raw ones: [`Text`], [`Bytes`], [`Stream`].
// spec: SDK-1
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task's input",
    note = "derive `serde::Deserialize` for it, or take `mesh_guest::Text`, `Bytes` or `Stream`"
)]
pub trait Input: Sized {
    /// Reads the input to its end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the bytes are not such a value,
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) when they cannot be read.
    fn from_reader(from: impl Read + 'static) -> Result<Self>;
}

/// What a task can return.
///
/// Every [`serde::Serialize`] type, written as one line of JSON; `null` (of `()` or a `None`) is left out. And the raw
/// ones: [`Text`], [`Bytes`].
// spec: SDK-1
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task's result",
    note = "derive `serde::Serialize` for it, or return `mesh_guest::Text` or `Bytes`"
)]
pub trait Output {
    /// The bytes to write to stdout.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) when the value has no JSON form (a map with keys that are no text).
    fn into_bytes(self) -> Result<Vec<u8>>;
}

/// Raw UTF-8 text, neither quoted nor trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(pub String);

/// Raw bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Raw bytes that are read while the task works: for inputs larger than its memory.
pub struct Stream(Box<dyn BufRead>);

impl Stream {
    /// A stream of what `from` holds, for tests.
    pub fn new(from: impl Read + 'static) -> Self {
        Self(Box::new(BufReader::with_capacity(BLOCK, from)))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

fn read_all(mut from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|error| Error::failed(format!("cannot read the input: {error}")))?;
    Ok(bytes)
}

impl<T: DeserializeOwned> Input for T {
    fn from_reader(from: impl Read + 'static) -> Result<Self> {
        let bytes = read_all(from)?;
        if bytes.trim_ascii().is_empty() {
            return serde_json::from_str("null").map_err(|_| {
                Error::invalid_input("the input is empty: give this task a JSON value on stdin")
            });
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::invalid_input(format!("the input is not the JSON this task reads: {error}"))
        })
    }
}

impl Input for Text {
    fn from_reader(from: impl Read + 'static) -> Result<Self> {
        String::from_utf8(read_all(from)?).map(Self).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::invalid_input(format!("the input is not UTF-8 text: byte {at} does not belong there"))
        })
    }
}

impl Input for Bytes {
    fn from_reader(from: impl Read + 'static) -> Result<Self> {
        read_all(from).map(Self)
    }
}

impl Input for Stream {
    fn from_reader(from: impl Read + 'static) -> Result<Self> {
        Ok(Self::new(from))
    }
}

impl<T: Serialize> Output for T {
    fn into_bytes(self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self)
            .map_err(|error| Error::failed(format!("cannot write the result as JSON: {error}")))?;
        if bytes == b"null" {
            bytes.clear();
        } else {
            bytes.push(b'\n');
        }
        Ok(bytes)
    }
}

impl Output for Text {
    fn into_bytes(self) -> Result<Vec<u8>> {
        Ok(self.0.into_bytes())
    }
}

impl Output for Bytes {
    fn into_bytes(self) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Writes and flushes: an exit does not.
pub(crate) fn write(mut to: impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .map_err(|error| Error::failed(format!("cannot write the result to stdout: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::collections::BTreeMap;

    // spec: SDK-1
    #[test]
    fn serde_types_are_json_and_the_raw_ones_are_raw() {
        assert_eq!(<Vec<u32>>::from_reader(&b" [1, 2]\n"[..]).unwrap(), [1, 2]);
        assert_eq!(Text::from_reader("é\n".as_bytes()).unwrap(), Text("é\n".into()));
        assert_eq!(Bytes::from_reader(&[0, 255][..]).unwrap(), Bytes(vec![0, 255]));
        let mut streamed = String::new();
        Stream::from_reader(&b"abc"[..]).unwrap().read_to_string(&mut streamed).unwrap();
        assert_eq!(streamed, "abc");

        assert_eq!(vec![1, 2].into_bytes().unwrap(), b"[1,2]\n");
        assert_eq!(Text("é".into()).into_bytes().unwrap(), "é".as_bytes());
        assert_eq!(Bytes(vec![0, 255]).into_bytes().unwrap(), [0, 255]);
    }

    #[test]
    fn blank_input_is_null_and_null_is_not_written() {
        <() as Input>::from_reader(&b""[..]).unwrap();
        assert_eq!(<Option<u32>>::from_reader(&b" \n"[..]).unwrap(), None);
        assert_eq!(<Option<u32>>::from_reader(&b"7"[..]).unwrap(), Some(7));
        assert!(().into_bytes().unwrap().is_empty());
    }

    #[test]
    fn wrong_input_says_so() {
        let error = u32::from_reader(&b""[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("empty"), "{error}");
        let error = u32::from_reader(&b"-1"[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Text::from_reader(&[b'a', 0xff][..]).unwrap_err();
        assert!(error.message().contains("byte 1"), "{error}");
        let error = BTreeMap::from([((1, 2), 3)]).into_bytes().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
    }
}
