//! Arguments, environment, clock readings, randomness, exit, and the sockets there are none of.

use super::{Guest, MODULE, call, fuel_used};
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

/// Defines a function by its name, its arguments and what it does.
macro_rules! define {
    ($linker:ident, $name:literal, ($($arg:ident: $ty:ty),*), |$guest:ident| $body:expr) => {
        $linker.func_wrap_async(MODULE, $name, |mut guest: Guest<'_>, ($($arg,)*): ($($ty,)*)| {
            Box::new(async move {
                let $guest = &mut guest;
                $body
            })
        })?;
    };
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    define!(linker, "args_sizes_get", (count: i32, bytes: i32), |guest| {
        call(guest, CALL_FUEL, |mut memory, host| sizes(&mut memory, &host.args, count, bytes)).await
    });
    define!(linker, "args_get", (pointers: i32, bytes: i32), |guest| {
        let fuel = CALL_FUEL + guest.data().args.iter().map(|arg| arg.len() as u64 + 8).sum::<u64>();
        call(guest, fuel, |mut memory, host| fill(&mut memory, &host.args, pointers, bytes)).await
    });
    define!(linker, "environ_sizes_get", (count: i32, bytes: i32), |guest| {
        call(guest, CALL_FUEL, |mut memory, host| sizes(&mut memory, &strings(&host.env), count, bytes)).await
    });
    define!(linker, "environ_get", (pointers: i32, bytes: i32), |guest| {
        let lengths = guest.data().env.iter().map(|(key, value)| (key.len() + value.len()) as u64 + 8);
        let fuel = CALL_FUEL + lengths.sum::<u64>();
        call(guest, fuel, |mut memory, host| fill(&mut memory, &strings(&host.env), pointers, bytes)).await
    });
    define!(linker, "clock_res_get", (id: i32, out: i32), |guest| {
        call(guest, CALL_FUEL, |mut memory, host| {
            clock_id(id)?;
            let resolution = lock(&host.clock).resolution();
            memory.put_u64(out, resolution)
        })
        .await
    });
    define!(linker, "clock_time_get", (id: i32, _precision: i64, out: i32), |guest| {
        let used = fuel_used(guest);
        call(guest, CALL_FUEL, |mut memory, host| {
            let wall = clock_id(id)?;
            let clock = *lock(&host.clock);
            memory.put_u64(out, if wall { clock.wall(used) } else { clock.monotonic(used) })
        })
        .await
    });
    define!(linker, "random_get", (at: i32, len: i32), |guest| {
        let bytes = u64::from(len as u32);
        if bytes > RANDOM_BYTES {
            let what = format!("asked for {bytes} random bytes at once, at most {RANDOM_BYTES} are given");
            return Err(End::Misuse(what).into());
        }
        call(guest, CALL_FUEL + bytes, |mut memory, host| {
            let bytes = memory.bytes_mut(at, len)?;
            lock(&host.random).fill(bytes).map_err(|_| Errno::Io)
        })
        .await
    });
    linker.func_wrap(MODULE, "proc_exit", |_: Guest<'_>, code: i32| -> wasmtime::Result<()> {
        Err(End::Exit(code as u32).into())
    })?;
    define!(linker, "proc_raise", (_signal: i32), |guest| call(guest, CALL_FUEL, |_, _| Err(Errno::NotSup)).await);
    define!(linker, "sched_yield", (), |guest| call(guest, CALL_FUEL, |_, _| Ok(())).await);
    define!(linker, "sock_accept", (fd: i32, _flags: i32, _out: i32), |guest| no_socket(guest, fd).await);
    define!(
        linker,
        "sock_recv",
        (fd: i32, _iovs: i32, _count: i32, _flags: i32, _len: i32, _out: i32),
        |guest| no_socket(guest, fd).await
    );
    define!(
        linker,
        "sock_send",
        (fd: i32, _iovs: i32, _count: i32, _flags: i32, _out: i32),
        |guest| no_socket(guest, fd).await
    );
    define!(linker, "sock_shutdown", (fd: i32, _how: i32), |guest| no_socket(guest, fd).await);
    Ok(())
}

/// No socket is ever given, so any descriptor that is open is none.
async fn no_socket(guest: &mut Guest<'_>, fd: i32) -> wasmtime::Result<i32> {
    call(guest, CALL_FUEL, |_, host| host.fds.get(fd).and(Err(Errno::NotSock))).await
}
