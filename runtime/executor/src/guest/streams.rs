//! A guest's standard streams: counted, bounded, and no faster than their reader.

use super::conn::Conn;
use super::{End, lock};
use crate::wire::{FromWorker, MAX_CHUNK, StdinKind};
use mesh_protocol::outcome::Stream;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Bytes gathered before they are sent on; writes of single bytes would else cost a message each.
const GATHER: usize = 32 * 1024;

struct Gathered {
    bytes: Vec<u8>,
    written: u64,
    limit: u64,
}

/// Standard output and standard error.
pub(crate) struct Output {
    conn: Arc<Conn>,
    streams: Mutex<[Gathered; 2]>,
}

impl Output {
    /// `written` bytes of each stream went out before this run resumed.
    pub(crate) fn new(conn: Arc<Conn>, limits: [u64; 2], written: [u64; 2]) -> Self {
        let stream =
            |index: usize| Gathered { bytes: Vec::new(), written: written[index], limit: limits[index] };
        Self { conn, streams: Mutex::new([stream(0), stream(1)]) }
    }

    /// Takes bytes of a stream; says whether what is gathered should go out, and whether it went over the limit. What
    /// fits under the limit goes out even when the rest ends the task.
    // spec: SBX-6
    pub(crate) fn gather(&self, stream: Stream, bytes: &[u8]) -> (bool, bool) {
        let mut streams = lock(&self.streams);
        let gathered = &mut streams[stream as usize];
        let room = usize::try_from(gathered.limit.saturating_sub(gathered.written)).unwrap_or(usize::MAX);
        let taken = &bytes[..bytes.len().min(room)];
        gathered.bytes.extend_from_slice(taken);
        gathered.written += taken.len() as u64;
        (gathered.bytes.len() >= GATHER, taken.len() < bytes.len())
    }

    /// Counts a log line against stderr without it being part of that stream.
    pub(crate) fn count_log(&self, bytes: u64) -> bool {
        let gathered = &mut lock(&self.streams)[Stream::Stderr as usize];
        gathered.written = gathered.written.saturating_add(bytes);
        gathered.written > gathered.limit
    }

    pub(crate) async fn flush_stream(&self, stream: Stream) -> Result<(), End> {
        while !lock(&self.streams)[stream as usize].bytes.is_empty() {
            self.conn.until_sent(|| self.send_first(stream)).await.map_err(End::Disconnected)?;
        }
        Ok(())
    }

    /// Sends the first of what is gathered, if there is room for it. It stays in its place until it is out: whoever
    /// sends next, and whatever becomes of the one who waits, no byte overtakes another and none is lost.
    fn send_first(&self, stream: Stream) -> io::Result<bool> {
        let gathered = &mut lock(&self.streams)[stream as usize].bytes;
        let len = gathered.len().min(MAX_CHUNK);
        let sent = len == 0 || self.conn.try_send(&FromWorker::stream(stream, gathered[..len].to_vec()))?;
        if sent {
            gathered.drain(..len);
        }
        Ok(sent)
    }

    pub(crate) async fn flush(&self) -> Result<(), End> {
        self.flush_stream(Stream::Stdout).await?;
        self.flush_stream(Stream::Stderr).await
    }

    /// Sends on what is gathered if the reader is ready: called whenever the guest lets go of the thread, so that
    /// what it wrote is seen while it computes.
    pub(crate) fn flush_if_ready(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            while !lock(&self.streams)[stream as usize].bytes.is_empty()
                && matches!(self.send_first(stream), Ok(true))
            {}
        }
    }
}

struct Source {
    kind: StdinKind,
    file: Option<File>,
    position: u64,
    arrived: Vec<u8>,
    asked: bool,
    ended: bool,
}

/// Standard input.
pub(crate) struct Stdin {
    conn: Arc<Conn>,
    source: Mutex<Source>,
    arrival: Notify,
}

impl Stdin {
    pub(crate) fn new(conn: Arc<Conn>, kind: StdinKind, file: Option<File>) -> Self {
        let ended = kind == StdinKind::Empty;
        let source = Source { kind, file, position: 0, arrived: Vec::new(), asked: false, ended };
        Self { conn, source: Mutex::new(source), arrival: Notify::new() }
    }

    /// Bytes that the executor sent; none at the end.
    pub(crate) fn arrived(&self, bytes: Vec<u8>) {
        let mut source = lock(&self.source);
        source.asked = false;
        source.ended |= bytes.is_empty();
        source.arrived.extend(bytes);
        drop(source);
        self.arrival.notify_waiters();
    }

    /// What can be read without waiting; `None` if only waiting will tell.
    pub(crate) fn read_now(&self, max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut source = lock(&self.source);
        match source.kind {
            StdinKind::Empty => Ok(Some(Vec::new())),
            StdinKind::File => {
                let mut bytes = vec![0; max.min(MAX_CHUNK)];
                let count = match &source.file {
                    Some(file) => file.read_at(&mut bytes, source.position)?,
                    None => 0,
                };
                source.position += count as u64;
                bytes.truncate(count);
                Ok(Some(bytes))
            }
            StdinKind::Streamed if !source.arrived.is_empty() => {
                let count = source.arrived.len().min(max);
                Ok(Some(source.arrived.drain(..count).collect()))
            }
            StdinKind::Streamed => Ok(source.ended.then(Vec::new)),
        }
    }

    /// Waits until reading tells something.
    pub(crate) async fn ready(&self) -> Result<(), End> {
        loop {
            let arrival = self.arrival.notified();
            let ask = {
                let mut source = lock(&self.source);
                if source.kind != StdinKind::Streamed || source.ended || !source.arrived.is_empty() {
                    return Ok(());
                }
                !std::mem::replace(&mut source.asked, true)
            };
            if ask {
                self.conn.tell(&FromWorker::WantStdin).await?;
            }
            arrival.await;
        }
    }

    /// Reads up to `max` bytes; none at the end.
    pub(crate) async fn read(&self, max: usize) -> Result<io::Result<Vec<u8>>, End> {
        loop {
            match self.read_now(max) {
                Ok(Some(bytes)) => return Ok(Ok(bytes)),
                Ok(None) => self.ready().await?,
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Future, poll_fn};
    use std::os::fd::OwnedFd;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap()
    }

    /// An output whose reader has not read for so long that nothing more can be sent.
    fn stalled() -> (Output, OwnedFd) {
        let (executor, worker) = crate::wire::pair().unwrap();
        let conn = Arc::new(Conn::new(worker).unwrap());
        while conn.try_send(&FromWorker::stream(Stream::Stderr, vec![0; MAX_CHUNK])).unwrap() {}
        (Output::new(conn, [u64::MAX; 2], [0; 2]), executor)
    }

    async fn waits<T>(mut future: Pin<&mut impl Future<Output = T>>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    /// The next message; what of it was written to stdout goes to `stdout`. False if there is none.
    fn read(executor: &OwnedFd, stdout: &mut Vec<u8>) -> bool {
        match crate::wire::receive(executor, &mut Vec::new(), false).unwrap() {
            Some((FromWorker::Stdout(bytes), _)) => stdout.extend(bytes),
            Some(_) => {}
            None => return false,
        }
        true
    }

    fn written() -> Vec<u8> {
        (0..MAX_CHUNK + 20_000).map(|n| (n / 1000) as u8).collect()
    }

    #[test]
    fn what_waits_to_be_sent_is_not_overtaken() {
        runtime().block_on(async {
            let (output, executor) = stalled();
            output.gather(Stream::Stdout, &written());
            let mut flush = pin!(output.flush());
            assert!(waits(flush.as_mut()).await);
            let mut stdout = Vec::new();
            // As little as may come between the last try and this: so the small rest would find room and the rest not.
            assert!(read(&executor, &mut stdout));
            output.flush_if_ready();
            while waits(flush.as_mut()).await {
                while read(&executor, &mut stdout) {}
                tokio::task::yield_now().await;
            }
            while read(&executor, &mut stdout) {}
            assert!(stdout == written(), "{} bytes came, or in another order", stdout.len());
        });
    }

    #[test]
    fn what_was_not_sent_when_its_sender_was_given_up_stays() {
        runtime().block_on(async {
            let (output, executor) = stalled();
            output.gather(Stream::Stdout, &written());
            assert!(waits(pin!(output.flush())).await);
            let mut stdout = Vec::new();
            while read(&executor, &mut stdout) {}
            output.flush_if_ready();
            while read(&executor, &mut stdout) {}
            assert!(stdout == written(), "{} bytes came, or in another order", stdout.len());
        });
    }
}
