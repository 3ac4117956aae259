//! What a component reads from, writes to and waits for.

use super::Shared;
use super::files::{Failure, Held};
use crate::engine::FILE_FUEL;
use crate::guest::End;
use crate::guest::streams::{Output, Stdin};
use crate::guest::vfs::Errno;
use mesh_protocol::outcome::Stream;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most bytes that one call moves.
pub(super) const CHUNK: usize = 64 * 1024;

/// The type of the bytes that streams take and give.
type Bytes = bytes::Bytes;

/// A time on the monotonic clock.
pub(super) struct Deadline {
    pub(super) at: u64,
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        if self.shared.clock().is_virtual() {
            // Nobody wakes this: whoever waits moves the clock and asks again.
            poll_fn(|_| {
                if self.shared.now() >= self.at {
                    return Poll::Ready(());
                }
                self.shared.wait_for(self.at);
                Poll::Pending
            })
            .await;
        } else {
            let left = self.at.saturating_sub(self.shared.now());
            if left > 0 {
                tokio::time::sleep(Duration::from_nanos(left)).await;
            }
        }
    }
}

/// Standard input.
pub(super) struct StandardInput {
    stdin: Arc<Stdin>,
    output: Arc<Output>,
    shared: Arc<Shared>,
    /// What went wrong while waiting, which can tell nobody.
    lost: Option<End>,
}

impl StandardInput {
    pub(super) fn new(stdin: Arc<Stdin>, output: Arc<Output>, shared: Arc<Shared>) -> Self {
        Self { stdin, output, shared, lost: None }
    }
}

#[async_trait]
impl Pollable for StandardInput {
    async fn ready(&mut self) {
        // Under the virtual clock stdin counts as ready: whether a byte has arrived yet is a matter of real time.
        if !self.shared.clock().is_virtual()
            && let Err(end) = self.stdin.ready().await
        {
            self.lost = Some(end);
        }
    }
}

#[async_trait]
impl InputStream for StandardInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(end) = self.lost.take() {
            return Err(StreamError::Trap(end.into()));
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.stdin.read_now(size) {
            Ok(Some(bytes)) if bytes.is_empty() => Err(StreamError::Closed),
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Ok(Bytes::new()),
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        loop {
            let bytes = self.read(size)?;
            if size == 0 || !bytes.is_empty() {
                return Ok(bytes);
            }
            // Whoever waits for the guest's answer must see its question first.
            self.output.flush().await.map_err(|end| StreamError::Trap(end.into()))?;
            self.stdin.ready().await.map_err(|end| StreamError::Trap(end.into()))?;
        }
    }
}

/// Standard output or standard error. It never refuses bytes: the function that wrote waits for the executor to take
/// them, so how fast it reads does not show.
// spec: SBX-6, SBX-13
pub(super) struct StandardOutput {
    output: Arc<Output>,
    stream: Stream,
}

impl StandardOutput {
    pub(super) fn new(output: Arc<Output>, stream: Stream) -> Self {
        Self { output, stream }
    }
}

#[async_trait]
impl Pollable for StandardOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for StandardOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let (_, over) = self.output.gather(self.stream, &bytes);
        if over { Err(StreamError::Trap(End::OutputExceeded(self.stream).into())) } else { Ok(()) }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write(bytes)
    }
}

fn failed(errno: Errno) -> StreamError {
    StreamError::LastOperationFailed(Failure(errno).into())
}

/// The bytes of a file from a position on.
pub(super) struct FileInput {
    pub(super) file: Held,
    pub(super) position: u64,
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.shared.owe(FILE_FUEL / 4);
        let mut bytes = vec![0; size.min(CHUNK)];
        let count = self.file.files().read(self.file.node(), self.position, &mut bytes).map_err(failed)?;
        if count == 0 && size > 0 {
            return Err(StreamError::Closed);
        }
        self.position += count as u64;
        bytes.truncate(count);
        Ok(bytes.into())
    }
}

/// Writes to a file, from a position on or always at its end.
pub(super) struct FileOutput {
    pub(super) file: Held,
    pub(super) position: Option<u64>,
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.shared.owe(FILE_FUEL / 4);
        let mut files = self.file.files();
        files.set_now(self.shared.wall());
        let node = self.file.node();
        let at = self.position.unwrap_or_else(|| files.stat(node).size);
        files.write(node, at, &bytes).map_err(failed)?;
        if let Some(position) = &mut self.position {
            *position += bytes.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write(bytes)
    }
}
