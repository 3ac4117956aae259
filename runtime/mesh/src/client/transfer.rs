//! Bytes to and from the node, never whole in memory.
// spec: API-2, DEL-5

use super::{Client, as_io, broken, checked, runtime, whole};
use crate::failure::{Failure, Result};
use bytes::{Buf as _, Bytes};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Empty};
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;
use std::convert::Infallible;
use std::io::{self, Read};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Bytes read from a file at a time.
const PIECE: usize = 256 * 1024;

impl Client {
    /// Sends bytes, and tells how many have gone.
    pub(crate) fn upload(&self, path: &str, mut from: impl Read, sent: &mut dyn FnMut(u64)) -> Result<Value> {
        runtime()?.block_on(async {
            // Two pieces on their way: one is sent while the next is read.
            let (mut to, body) = Channel::<Bytes, Infallible>::new(2);
            let request = self.request(Method::POST, path, Some("application/octet-stream"), body.boxed())?;
            let mut sender = self.connect().await?;
            let mut response = Box::pin(sender.send_request(request));
            let mut total = 0;
            let response = loop {
                let mut piece = vec![0; PIECE];
                let len = read_full(&mut from, &mut piece)
                    .map_err(|error| Failure::because("read what is sent to the node", &error))?;
                piece.truncate(len);
                if len == 0 {
                    drop(to);
                    break response.await;
                }
                tokio::select! {
                    // It may refuse before it has read all.
                    response = &mut response => break response,
                    taken = to.send_data(piece.into()) => if taken.is_err() {
                        break response.await;
                    },
                }
                total += len as u64;
                sent(total);
            };
            whole(checked(response.map_err(|error| broken(&error))?).await?).await
        })
    }

    /// Asks for bytes, to be read as they come.
    pub(crate) fn download(&self, path: &str) -> Result<Download> {
        let runtime = runtime()?;
        let response = runtime.block_on(self.send(Method::GET, path, None, Empty::<Bytes>::new().boxed()))?;
        Ok(Download { runtime, body: response.into_body(), rest: Bytes::new() })
    }
}

fn read_full(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < piece.len() {
        match from.read(&mut piece[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Bytes from the node as they come.
pub(crate) struct Download {
    runtime: Runtime,
    body: Incoming,
    rest: Bytes,
}

impl Download {
    /// What comes next; none at the end. With `patience`, nothing is an error of kind `TimedOut`.
    pub(crate) fn next(&mut self, patience: Option<Duration>) -> io::Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let body = &mut self.body;
        self.runtime.block_on(async {
            loop {
                let frame = match patience {
                    Some(patience) => tokio::time::timeout(patience, body.frame())
                        .await
                        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?,
                    None => body.frame().await,
                };
                let Some(frame) = frame else { return Ok(None) };
                match frame.map_err(as_io)?.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                }
            }
        })
    }
}

impl Read for Download {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.next(None)? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let len = self.rest.len().min(into.len());
        self.rest.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}
