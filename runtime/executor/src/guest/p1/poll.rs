//! Waiting for a time or for a stream.

use super::{Fd, Guest, MODULE, fuel_used, parts};
use crate::engine::CALL_FUEL;
use crate::guest::vfs::{Errno, Result};
use crate::guest::{Host, begin, lock};
use std::time::Duration;
use wasmtime::Linker;

/// Most subscriptions in one call: more than the descriptors a guest may have, and a bound on what is kept of them.
const MAX_SUBSCRIPTIONS: u32 = 4096;

const EVENT_CLOCK: u8 = 0;
const EVENT_READ: u8 = 1;
const EVENT_WRITE: u8 = 2;

struct Subscription {
    userdata: u64,
    kind: u8,
    /// For a time: nanoseconds on the monotonic clock. For a stream: what is wrong with it, if anything.
    at: u64,
    error: u16,
    streamed_stdin: bool,
}

fn subscription(memory: &super::Memory<'_>, host: &mut Host, at: u32, used: u64) -> Result<Subscription> {
    let field = |offset: u32| at.checked_add(offset).map(|at| at as i32).ok_or(Errno::Fault);
    let userdata = memory.u64(field(0)?)?;
    let kind = memory.bytes(field(8)?, 1)?[0];
    let mut this = Subscription { userdata, kind, at: 0, error: 0, streamed_stdin: false };
    match kind {
        EVENT_CLOCK => {
            let (id, timeout, flags) =
                (memory.u32(field(16)?)?, memory.u64(field(24)?)?, memory.u16(field(40)?)?);
            let clock = *lock(&host.clock);
            let now = clock.monotonic(used);
            match (id, flags & 1) {
                (0 | 1, 0) => this.at = now.saturating_add(timeout),
                (0, _) => this.at = now.saturating_add(timeout.saturating_sub(clock.wall(used))),
                (1, _) => this.at = timeout,
                _ => this.error = Errno::Invalid as u16,
            }
        }
        EVENT_READ | EVENT_WRITE => {
            let fd = memory.u32(field(16)?)? as i32;
            match (host.fds.get(fd), kind) {
                (Ok(Fd::Stdin), EVENT_READ) => this.streamed_stdin = true,
                (Ok(Fd::Stdout | Fd::Stderr), EVENT_WRITE) => {}
                (Ok(Fd::Own(_) | Fd::Host(_)), _) => {}
                (Ok(Fd::Stdin | Fd::Stdout | Fd::Stderr), _) | (Err(_), _) => {
                    this.error = Errno::BadFd as u16
                }
            }
        }
        _ => return Err(Errno::Invalid),
    }
    Ok(this)
}

async fn poll(guest: &mut Guest<'_>, subs: i32, events: i32, count: i32, out: i32) -> wasmtime::Result<i32> {
    let count = count as u32;
    begin(&mut *guest, CALL_FUEL + u64::from(count.min(MAX_SUBSCRIPTIONS)) * 100).await?;
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(Errno::Invalid as i32);
    }
    let used = fuel_used(guest);
    let (memory, host) = parts(guest)?;
    let read: Result<Vec<Subscription>> = (0..count)
        .map(|index| {
            let at = (subs as u32).checked_add(index * 48).ok_or(Errno::Fault)?;
            subscription(&memory, host, at, used)
        })
        .collect();
    let waiting = match read {
        Ok(waiting) => waiting,
        Err(errno) => return Ok(errno as i32),
    };
    let due = waiting.iter().filter(|s| s.kind == EVENT_CLOCK && s.error == 0).map(|s| s.at).min();
    let clock = *lock(&host.clock);
    let (stdin, output) = (host.stdin.clone(), host.output.clone());
    let streams_ready = waiting.iter().any(|s| s.kind != EVENT_CLOCK && !s.streamed_stdin || s.error != 0);
    let stdin_wanted = waiting.iter().any(|s| s.streamed_stdin);
    // Under the virtual clock stdin counts as ready: whether a byte has arrived yet is a matter of real time.
    let stdin_ready = stdin_wanted && (clock.is_virtual() || !matches!(stdin.read_now(0), Ok(None)));
    let mut stdin_arrived = stdin_ready;
    if !streams_ready && !stdin_ready {
        output.flush().await?;
        let now = clock.monotonic(used);
        match (due, clock.is_virtual()) {
            (Some(due), true) => lock(&host.clock).advance_to(due, used),
            (Some(due), false) => {
                let sleep = tokio::time::sleep(Duration::from_nanos(due.saturating_sub(now)));
                if stdin_wanted {
                    tokio::select! {
                        ready = stdin.ready() => { ready?; stdin_arrived = true; }
                        () = sleep => {}
                    }
                } else {
                    sleep.await;
                }
            }
            (None, _) => {
                stdin.ready().await?;
                stdin_arrived = true;
            }
        }
    }
    // A real sleep may end a little early on the coarse clock; what was slept for has come.
    let slept_to = if streams_ready || stdin_arrived { 0 } else { due.unwrap_or(0) };
    let now = lock(&host.clock).monotonic(used).max(slept_to);
    let (mut memory, _) = parts(guest)?;
    let mut told = 0u32;
    let mut write = || -> Result<()> {
        for s in &waiting {
            let ready = match s.kind {
                _ if s.error != 0 => true,
                EVENT_CLOCK => s.at <= now,
                _ => !s.streamed_stdin || stdin_arrived,
            };
            if !ready {
                continue;
            }
            let mut event = [0; 32];
            event[..8].copy_from_slice(&s.userdata.to_le_bytes());
            event[8..10].copy_from_slice(&s.error.to_le_bytes());
            event[10] = s.kind;
            if s.kind != EVENT_CLOCK && s.error == 0 {
                event[16..24].copy_from_slice(&1u64.to_le_bytes());
            }
            let at = (events as u32).checked_add(told * 32).ok_or(Errno::Fault)?;
            memory.put(at as i32, &event)?;
            told += 1;
        }
        memory.put_u32(out, told)
    };
    Ok(super::code(write()))
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut guest: Guest<'_>, (subs, events, count, out): (i32, i32, i32, i32)| {
            Box::new(async move { poll(&mut guest, subs, events, count, out).await })
        },
    )?;
    Ok(())
}
