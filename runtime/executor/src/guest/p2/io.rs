//! Reading, writing and waiting, each with its price. What a stream is stays with [`super::streams`] and
//! `wasmtime-wasi`.

use super::{offer, shared};
use crate::engine::CALL_FUEL;
use crate::guest::charge;
use crate::guest::{End, Host};
use mesh_protocol::outcome::Stream;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::io::streams::{self, Host as _, HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamResult};

/// Most pollables in one call: more than the handles a guest may have.
const MAX_POLLABLES: usize = 4096;
/// Fuel for each of them.
const POLLABLE_FUEL: u64 = 100;

type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;
type Pollable = Resource<DynPollable>;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    link_poll(linker)?;
    link_input(linker)?;
    link_output(linker)
}

/// Waits until one of the pollables is ready, and says which are.
///
/// Under the virtual clock nothing but a time can be worth waiting for: if no pollable is ready, the earliest time of
/// all comes at once.
// spec: SBX-13
pub(super) async fn wait(
    store: &mut StoreContextMut<'_, Host>,
    pollables: Vec<Pollable>,
) -> wasmtime::Result<Vec<u32>> {
    let host = store.data_mut();
    let (shared, output) = (shared(host)?, host.output.clone());
    let mut ready = pin!(poll::Host::poll(&mut host.table, pollables));
    let at_once = poll_fn(|context| Poll::Ready(ready.as_mut().poll(context))).await;
    if let Poll::Ready(ready) = at_once {
        return ready;
    }
    // Whoever waits for the guest's answer must see its question first.
    output.flush().await?;
    poll_fn(|context| {
        loop {
            shared.forget_waits();
            match ready.as_mut().poll(context) {
                Poll::Pending if shared.jump() => {}
                polled => return polled,
            }
        }
    })
    .await
}

fn link_poll(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wasi:io/poll@0.2.12")?;
    instance.resource("pollable", ResourceType::host::<DynPollable>(), |mut store, rep| {
        charge(&mut store, CALL_FUEL)?;
        HostPollable::drop(&mut store.data_mut().table, Resource::new_own(rep))
    })?;
    offer!(instance, "[method]pollable.ready", CALL_FUEL, |store, pollable: Pollable| {
        Ok((HostPollable::ready(&mut store.data_mut().table, pollable).await?,))
    });
    offer!(instance, "[method]pollable.block", CALL_FUEL, |store, pollable: Pollable| {
        wait(store, vec![pollable]).await.map(|_| ())
    });
    offer!(instance, "poll", CALL_FUEL, |store, pollables: Vec<Pollable>| {
        if pollables.len() > MAX_POLLABLES {
            let what =
                format!("polled {} pollables at once, at most {MAX_POLLABLES} can be", pollables.len());
            return Err(End::Misuse(what).into());
        }
        charge(&mut *store, pollables.len() as u64 * POLLABLE_FUEL)?;
        Ok((wait(store, pollables).await?,))
    });
    Ok(())
}

/// Ends a function on streams: charges for what they did, sends on what was gathered of the standard streams, waiting
/// while the executor does not read, and says what came of it as the guest sees it.
async fn finish<R>(
    store: &mut StoreContextMut<'_, Host>,
    fuel: u64,
    result: StreamResult<R>,
) -> wasmtime::Result<(Result<R, streams::StreamError>,)> {
    let owed = shared(store.data())?.owed.swap(0, Ordering::Relaxed);
    charge(&mut *store, fuel.saturating_add(owed))?;
    let output = store.data().output.clone();
    for stream in [Stream::Stdout, Stream::Stderr] {
        let (full, _) = output.gather(stream, &[]);
        if full {
            output.flush_stream(stream).await?;
        }
    }
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(store.data_mut().table.convert_stream_error(error)?),
    },))
}

/// Does a read wait for bytes, even if the guest would not? Under the virtual clock it does: whether a byte has
/// arrived yet is a matter of real time, which must not show.
// spec: SBX-13
fn waits(host: &Host) -> bool {
    crate::guest::lock(&host.clock).is_virtual()
}

fn link_input(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wasi:io/streams@0.2.12")?;
    instance.resource_async("input-stream", ResourceType::host::<DynInputStream>(), |mut store, rep| {
        Box::new(async move {
            charge(&mut store, CALL_FUEL)?;
            HostInputStream::drop(&mut store.data_mut().table, Resource::new_own(rep)).await
        })
    })?;
    offer!(instance, "[method]input-stream.read", CALL_FUEL, |store, stream: Input, len: u64| {
        let waits = waits(store.data());
        let table = &mut store.data_mut().table;
        let read = match waits {
            true => table.blocking_read(stream, len).await,
            false => HostInputStream::read(table, stream, len),
        };
        finish(store, read.as_ref().map_or(0, |bytes| bytes.len() as u64), read).await
    });
    offer!(instance, "[method]input-stream.blocking-read", CALL_FUEL, |store, stream: Input, len: u64| {
        let read = store.data_mut().table.blocking_read(stream, len).await;
        finish(store, read.as_ref().map_or(0, |bytes| bytes.len() as u64), read).await
    });
    offer!(instance, "[method]input-stream.skip", CALL_FUEL, |store, stream: Input, len: u64| {
        let waits = waits(store.data());
        let table = &mut store.data_mut().table;
        let skipped = match waits {
            true => table.blocking_skip(stream, len).await,
            false => HostInputStream::skip(table, stream, len),
        };
        finish(store, *skipped.as_ref().unwrap_or(&0), skipped).await
    });
    offer!(instance, "[method]input-stream.blocking-skip", CALL_FUEL, |store, stream: Input, len: u64| {
        let skipped = store.data_mut().table.blocking_skip(stream, len).await;
        finish(store, *skipped.as_ref().unwrap_or(&0), skipped).await
    });
    offer!(instance, "[method]input-stream.subscribe", CALL_FUEL, |store, stream: Input| {
        Ok((HostInputStream::subscribe(&mut store.data_mut().table, stream)?,))
    });
    Ok(())
}

/// Fuel for writing so many bytes.
fn bytes_fuel(len: u64) -> u64 {
    CALL_FUEL.saturating_add(len)
}

fn link_output(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wasi:io/streams@0.2.12")?;
    instance.resource_async("output-stream", ResourceType::host::<DynOutputStream>(), |mut store, rep| {
        Box::new(async move {
            charge(&mut store, CALL_FUEL)?;
            HostOutputStream::drop(&mut store.data_mut().table, Resource::new_own(rep)).await
        })
    })?;
    offer!(instance, "[method]output-stream.check-write", CALL_FUEL, |store, stream: Output| {
        let room = HostOutputStream::check_write(&mut store.data_mut().table, stream);
        finish(store, 0, room).await
    });
    offer!(
        instance,
        "[method]output-stream.write",
        bytes_fuel(bytes.len() as u64),
        |store, stream: Output, bytes: Vec<u8>| {
            let written = HostOutputStream::write(&mut store.data_mut().table, stream, bytes);
            finish(store, 0, written).await
        }
    );
    offer!(
        instance,
        "[method]output-stream.blocking-write-and-flush",
        bytes_fuel(bytes.len() as u64),
        |store, stream: Output, bytes: Vec<u8>| {
            let written = store.data_mut().table.blocking_write_and_flush(stream, bytes).await;
            finish(store, 0, written).await
        }
    );
    offer!(instance, "[method]output-stream.flush", CALL_FUEL, |store, stream: Output| {
        let flushed = HostOutputStream::flush(&mut store.data_mut().table, stream);
        finish(store, 0, flushed).await
    });
    offer!(instance, "[method]output-stream.blocking-flush", CALL_FUEL, |store, stream: Output| {
        let flushed = store.data_mut().table.blocking_flush(stream).await;
        finish(store, 0, flushed).await
    });
    offer!(instance, "[method]output-stream.subscribe", CALL_FUEL, |store, stream: Output| {
        Ok((HostOutputStream::subscribe(&mut store.data_mut().table, stream)?,))
    });
    offer!(
        instance,
        "[method]output-stream.write-zeroes",
        bytes_fuel(len),
        |store, stream: Output, len: u64| {
            let written = HostOutputStream::write_zeroes(&mut store.data_mut().table, stream, len);
            finish(store, 0, written).await
        }
    );
    offer!(
        instance,
        "[method]output-stream.blocking-write-zeroes-and-flush",
        bytes_fuel(len),
        |store, stream: Output, len: u64| {
            let written = store.data_mut().table.blocking_write_zeroes_and_flush(stream, len).await;
            finish(store, 0, written).await
        }
    );
    offer!(
        instance,
        "[method]output-stream.splice",
        CALL_FUEL,
        |store, to: Output, from: Input, len: u64| {
            let waits = waits(store.data());
            let table = &mut store.data_mut().table;
            let moved = match waits {
                true => table.blocking_splice(to, from, len).await,
                false => HostOutputStream::splice(table, to, from, len),
            };
            finish(store, *moved.as_ref().unwrap_or(&0), moved).await
        }
    );
    offer!(
        instance,
        "[method]output-stream.blocking-splice",
        CALL_FUEL,
        |store, to: Output, from: Input, len: u64| {
            let moved = store.data_mut().table.blocking_splice(to, from, len).await;
            finish(store, *moved.as_ref().unwrap_or(&0), moved).await
        }
    );
    Ok(())
}
