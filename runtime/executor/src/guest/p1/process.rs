//! Arguments, environment, clock readings, randomness, exit, and the sockets there are none of.

use super::{Guest, MODULE, call, charge, fuel_used, parts};
use crate::engine::{CALL_FUEL, RANDOM_BYTES};
use crate::guest::vfs::{Errno, Result};
use crate::guest::{End, Host, lock};
use wasmtime::Linker;

fn strings(env: &[(String, String)]) -> Vec<String> {
    env.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn sizes(memory: &mut super::Memory<'_>, list: &[String], count: i32, bytes: i32) -> Result<()> {
    memory.put_u32(count, list.len() as u32)?;
    memory.put_u32(bytes, list.iter().map(|text| text.len() as u32 + 1).sum())
}

fn fill(memory: &mut super::Memory<'_>, list: &[String], pointers: i32, bytes: i32) -> Result<()> {
    let (mut pointer, mut at) = (pointers as u32, bytes as u32);
    for text in list {
        memory.put_u32(pointer as i32, at)?;
        memory.put(at as i32, text.as_bytes())?;
        let end = at.checked_add(text.len() as u32).ok_or(Errno::Fault)?;
        memory.put(end as i32, &[0])?;
        at = end.checked_add(1).ok_or(Errno::Fault)?;
        pointer = pointer.checked_add(4).ok_or(Errno::Fault)?;
    }
    Ok(())
}

fn clock_id(id: i32) -> Result<bool> {
    match id {
        0 => Ok(true),
        1 => Ok(false),
        2 | 3 => Err(Errno::BadFd),
        _ => Err(Errno::Invalid),
    }
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |mut guest: Guest<'_>, count: i32, bytes: i32| {
        call(&mut guest, CALL_FUEL, |mut memory, host| sizes(&mut memory, &host.args, count, bytes))
    })?;
    linker.func_wrap(MODULE, "args_get", |mut guest: Guest<'_>, pointers: i32, bytes: i32| {
        let fuel = CALL_FUEL + guest.data().args.iter().map(|arg| arg.len() as u64 + 8).sum::<u64>();
        call(&mut guest, fuel, |mut memory, host| fill(&mut memory, &host.args, pointers, bytes))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |mut guest: Guest<'_>, count: i32, bytes: i32| {
        call(&mut guest, CALL_FUEL, |mut memory, host| sizes(&mut memory, &strings(&host.env), count, bytes))
    })?;
    linker.func_wrap(MODULE, "environ_get", |mut guest: Guest<'_>, pointers: i32, bytes: i32| {
        let fuel = CALL_FUEL
            + guest.data().env.iter().map(|(key, value)| (key.len() + value.len()) as u64 + 8).sum::<u64>();
        call(&mut guest, fuel, |mut memory, host| fill(&mut memory, &strings(&host.env), pointers, bytes))
    })?;
    linker.func_wrap(MODULE, "clock_res_get", |mut guest: Guest<'_>, id: i32, out: i32| {
        call(&mut guest, CALL_FUEL, |mut memory, host| {
            clock_id(id)?;
            let resolution = lock(&host.clock).resolution();
            memory.put_u64(out, resolution)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |mut guest: Guest<'_>, id: i32, _precision: i64, out: i32| {
            let used = fuel_used(&guest);
            call(&mut guest, CALL_FUEL, |mut memory, host| {
                let wall = clock_id(id)?;
                let clock = *lock(&host.clock);
                memory.put_u64(out, if wall { clock.wall(used) } else { clock.monotonic(used) })
            })
        },
    )?;
    linker.func_wrap(MODULE, "random_get", |mut guest: Guest<'_>, at: i32, len: i32| {
        let bytes = u64::from(len as u32);
        if bytes > RANDOM_BYTES {
            let what = format!("asked for {bytes} random bytes at once, at most {RANDOM_BYTES} are given");
            return Err(End::Misuse(what).into());
        }
        call(&mut guest, CALL_FUEL + bytes, |mut memory, host| {
            let bytes = memory.bytes_mut(at, len)?;
            lock(&host.random).fill(bytes).map_err(|_| Errno::Io)
        })
    })?;
    linker.func_wrap(MODULE, "proc_exit", |_: Guest<'_>, code: i32| -> wasmtime::Result<()> {
        Err(End::Exit(code as u32).into())
    })?;
    linker.func_wrap(MODULE, "proc_raise", |mut guest: Guest<'_>, _signal: i32| {
        call(&mut guest, CALL_FUEL, |_, _| Err(Errno::NotSup))
    })?;
    linker.func_wrap(MODULE, "sched_yield", |mut guest: Guest<'_>| call(&mut guest, CALL_FUEL, |_, _| Ok(())))?;

    // No socket is ever given, so any descriptor that is open is none.
    let no_socket = |guest: &mut Guest<'_>, fd: i32| -> wasmtime::Result<i32> {
        charge(&mut *guest, CALL_FUEL)?;
        let (_, host) = parts(guest)?;
        Ok(host.fds.get(fd).map_or(Errno::BadFd, |_| Errno::NotSock) as i32)
    };
    linker.func_wrap(MODULE, "sock_accept", move |mut guest: Guest<'_>, fd: i32, _: i32, _: i32| {
        no_socket(&mut guest, fd)
    })?;
    linker.func_wrap(
        MODULE,
        "sock_recv",
        move |mut guest: Guest<'_>, fd: i32, _: i32, _: i32, _: i32, _: i32, _: i32| no_socket(&mut guest, fd),
    )?;
    linker.func_wrap(
        MODULE,
        "sock_send",
        move |mut guest: Guest<'_>, fd: i32, _: i32, _: i32, _: i32, _: i32| no_socket(&mut guest, fd),
    )?;
    linker.func_wrap(MODULE, "sock_shutdown", move |mut guest: Guest<'_>, fd: i32, _: i32| {
        no_socket(&mut guest, fd)
    })?;
    Ok(())
}
