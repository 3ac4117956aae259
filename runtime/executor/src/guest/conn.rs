//! The worker's end of its connection to the executor.

use super::End;
use crate::wire::{self, FromWorker, ToWorker};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Sends and receives without blocking the worker's only thread.
pub(crate) struct Conn {
    socket: AsyncFd<OwnedFd>,
}

impl Conn {
    #[expect(unsafe_code, reason = "only a caller can promise that a descriptor stays open")]
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: an owned descriptor, never closed or exchanged before the `AsyncFd` that owns it is dropped.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket })
    }

    /// Sends a message, waiting while the executor does not read: this is how a slow reader slows its guest.
    pub(crate) async fn send(&self, message: &FromWorker) -> io::Result<()> {
        self.until_sent(|| self.try_send(message)).await
    }

    /// Tries again and again to send something, waiting while the executor does not read. Given up between two tries,
    /// nothing was sent.
    pub(crate) async fn until_sent(&self, mut sent: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        loop {
            if sent()? {
                return Ok(());
            }
            // Readiness is edge-triggered: clear it, or this would spin while the socket is full.
            let mut guard = self.socket.writable().await?;
            if sent()? {
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    pub(crate) fn try_send(&self, message: &FromWorker) -> io::Result<bool> {
        wire::send(self.socket.get_ref(), message, &[], false)
    }

    /// The same as [`Conn::send`], for host functions.
    pub(crate) async fn tell(&self, message: &FromWorker) -> Result<(), End> {
        self.send(message).await.map_err(End::Disconnected)
    }

    pub(crate) async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<(ToWorker, Vec<OwnedFd>)> {
        loop {
            if let Some(message) = wire::receive(self.socket.get_ref(), buffer, false)? {
                return Ok(message);
            }
            let mut guard = self.socket.readable().await?;
            if let Some(message) = wire::receive(self.socket.get_ref(), buffer, false)? {
                return Ok(message);
            }
            guard.clear_ready();
        }
    }
}
