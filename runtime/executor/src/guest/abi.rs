//! The functions of `mesh_v1`: how a task that knows Task Mesh talks to it.
// spec: SDK-2, SDK-6

use super::p1::fuel_used;
use super::{End, Host, begin, charge, lock};
use crate::engine::{CALL_FUEL, CHECKPOINT_FUEL, FILE_FUEL};
use crate::wire::{FromWorker, MAX_CHUNK, parts};
use mesh_protocol::abi::{
    DENIED, INVALID, MAX_LOG, MAX_META_KEY, MAX_NOTE, MODULE, NONE, OK, TOO_LARGE, TOO_OFTEN,
};
use mesh_protocol::limits::MAX_CHECKPOINT;
use std::os::unix::fs::FileExt;
use wasmtime::{Caller, Extern, Linker};

/// The functions of `mesh_v1`.
pub(crate) const NAMES: [&str; 7] =
    ["checkpoint_len", "checkpoint_load", "checkpoint_save", "log", "meta", "progress", "should_stop"];

type Guest<'a> = Caller<'a, Host>;

/// Most checkpoints of one attempt; each costs five million units of fuel, so no honest task comes near.
const MAX_CHECKPOINTS: u32 = 100_000;

fn bytes(guest: &mut Guest<'_>, at: i32, len: usize) -> wasmtime::Result<Vec<u8>> {
    let Some(Extern::Memory(memory)) = guest.get_export("memory") else {
        return Err(End::Misuse("mesh_v1 needs the guest to export its memory".into()).into());
    };
    let at = at as u32 as usize;
    let slice = memory.data(&*guest).get(at..).and_then(|rest| rest.get(..len));
    slice.map(<[u8]>::to_vec).ok_or_else(|| End::Misuse("a pointer outside the guest's memory".into()).into())
}

fn put(guest: &mut Guest<'_>, at: i32, len: usize, value: &[u8]) -> wasmtime::Result<()> {
    let Some(Extern::Memory(memory)) = guest.get_export("memory") else {
        return Err(End::Misuse("mesh_v1 needs the guest to export its memory".into()).into());
    };
    let target = memory.data_mut(guest).get_mut(at as u32 as usize..).and_then(|rest| rest.get_mut(..len));
    let target = target.ok_or_else(|| End::Misuse("a pointer outside the guest's memory".into()))?;
    let count = value.len().min(len);
    target[..count].copy_from_slice(&value[..count]);
    Ok(())
}

async fn text(guest: &mut Guest<'_>, at: i32, len: i32, max: usize) -> wasmtime::Result<Result<String, i32>> {
    let len = len as u32 as usize;
    begin(&mut *guest, CALL_FUEL + len.min(max) as u64).await?;
    if len > max {
        return Ok(Err(TOO_LARGE));
    }
    let bytes = bytes(guest, at, len)?;
    // Lines before this one in a stream come out before it.
    guest.data().output.clone().flush().await?;
    Ok(String::from_utf8(bytes).map_err(|_| INVALID))
}

async fn save(guest: &mut Guest<'_>, at: i32, len: i32) -> wasmtime::Result<i32> {
    let len = len as u32 as usize;
    begin(&mut *guest, CHECKPOINT_FUEL).await?;
    let host = guest.data();
    if host.checkpoints.denied || host.limits.checkpoint_bytes == 0 {
        return Ok(DENIED);
    }
    if len as u64 > host.limits.checkpoint_bytes {
        return Ok(TOO_LARGE);
    }
    if host.checkpoints.saved >= MAX_CHECKPOINTS {
        return Ok(TOO_OFTEN);
    }
    let tree = host.checkpoints.out.map(|out| lock(&host.files).export(out)).unwrap_or_default();
    let out_bytes: u64 = tree
        .iter()
        .map(|(_, node)| match node {
            crate::wire::OutNode::File { len, .. } => *len,
            _ => 0,
        })
        .sum();
    if len as u64 + out_bytes > MAX_CHECKPOINT {
        return Ok(TOO_LARGE);
    }
    charge(&mut *guest, len as u64 + out_bytes + tree.len() as u64 * FILE_FUEL)?;
    let state = bytes(guest, at, len)?;
    let fuel_used = fuel_used(guest);
    let host = guest.data();
    let (conn, output, signals) = (host.conn.clone(), host.output.clone(), host.signals.clone());
    let clock_ns = lock(&host.clock).monotonic(fuel_used);
    let random_pos = lock(&host.random).position();
    guest.data_mut().checkpoints.saved += 1;
    // Whether anybody keeps it must make no difference to the guest, in what it sees or what it pays.
    // spec: SBX-13
    if !guest.data().checkpoints.wanted {
        return Ok(OK);
    }
    output.flush().await?;
    let taken = signals.checkpoint_taken.notified();
    conn.tell(&FromWorker::Checkpoint { fuel_used, clock_ns, random_pos, state_len: len as u64 }).await?;
    for chunk in state.chunks(MAX_CHUNK) {
        conn.tell(&FromWorker::Data(chunk.to_vec())).await?;
    }
    for entries in parts(tree) {
        conn.tell(&FromWorker::Tree { tree: 0, entries }).await?;
    }
    conn.tell(&FromWorker::CheckpointEnd).await?;
    // The executor reads the files' blocks meanwhile, so the guest must not change them.
    taken.await;
    Ok(OK)
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type Three = (i32, i32, i32);
    linker.func_wrap_async(MODULE, "progress", |mut guest: Guest<'_>, (permille, at, len): Three| {
        Box::new(async move {
            let note = match text(&mut guest, at, len, MAX_NOTE).await? {
                Ok(note) => note,
                Err(code) => return Ok(code),
            };
            match u16::try_from(permille) {
                Ok(permille @ 0..=1000) => {
                    guest.data().conn.clone().tell(&FromWorker::Progress { permille, note }).await?;
                    Ok(OK)
                }
                _ => wasmtime::Result::Ok(INVALID),
            }
        })
    })?;
    linker.func_wrap_async(MODULE, "log", |mut guest: Guest<'_>, (level, at, len): Three| {
        Box::new(async move {
            let text = match text(&mut guest, at, len, MAX_LOG).await? {
                Ok(text) => text,
                Err(code) => return Ok(code),
            };
            match u8::try_from(level) {
                Ok(level @ 0..=3) => {
                    // Log lines count as stderr, so that they cannot flood either.
                    if guest.data().output.count_log(text.len() as u64 + 1) {
                        return Err(End::OutputExceeded(mesh_protocol::outcome::Stream::Stderr).into());
                    }
                    guest.data().conn.clone().tell(&FromWorker::Log { level, text }).await?;
                    Ok(OK)
                }
                _ => wasmtime::Result::Ok(INVALID),
            }
        })
    })?;
    linker.func_wrap_async(MODULE, "checkpoint_save", |mut guest: Guest<'_>, (at, len): (i32, i32)| {
        Box::new(async move { save(&mut guest, at, len).await })
    })?;
    linker.func_wrap_async(MODULE, "checkpoint_len", |mut guest: Guest<'_>, (): ()| {
        Box::new(async move {
            begin(&mut guest, CALL_FUEL).await?;
            let resume = guest.data().checkpoints.resume.as_ref();
            wasmtime::Result::Ok(resume.map_or(NONE, |&(_, _, len)| i32::try_from(len).unwrap_or(NONE)))
        })
    })?;
    linker.func_wrap_async(MODULE, "checkpoint_load", |mut guest: Guest<'_>, (at, len): (i32, i32)| {
        Box::new(async move {
            let Some((file, offset, state)) = guest.data().checkpoints.resume.clone() else {
                begin(&mut guest, CALL_FUEL).await?;
                return Ok(NONE);
            };
            let count = u64::from(len as u32).min(state);
            begin(&mut guest, CALL_FUEL + count).await?;
            let mut value = vec![0; count as usize];
            file.read_exact_at(&mut value, offset)
                .map_err(|e| End::Misuse(format!("read the checkpoint: {e}")))?;
            put(&mut guest, at, count as usize, &value)?;
            wasmtime::Result::Ok(count as i32)
        })
    })?;
    linker.func_wrap_async(MODULE, "should_stop", |mut guest: Guest<'_>, (): ()| {
        Box::new(async move {
            begin(&mut guest, CALL_FUEL).await?;
            wasmtime::Result::Ok(i32::from(guest.data().signals.should_stop()))
        })
    })?;
    linker.func_wrap_async(
        MODULE,
        "meta",
        |mut guest: Guest<'_>, (key, key_len, at, len): (i32, i32, i32, i32)| {
            Box::new(async move {
                begin(&mut guest, CALL_FUEL + u64::from(len as u32).min(4096)).await?;
                if key_len as u32 as usize > MAX_META_KEY {
                    return Ok(NONE);
                }
                let key = bytes(&mut guest, key, key_len as u32 as usize)?;
                let found = guest.data().meta.iter().find(|(name, _)| name.as_bytes() == key);
                let Some(value) = found.map(|(_, value)| value.clone()) else { return Ok(NONE) };
                let space = (len as u32 as usize).min(value.len());
                put(&mut guest, at, space, value.as_bytes())?;
                wasmtime::Result::Ok(value.len() as i32)
            })
        },
    )?;
    Ok(())
}
