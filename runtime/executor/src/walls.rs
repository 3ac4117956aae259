//! What stands between a hostile process of ours and this machine, beyond wasm itself?
//!
//! A worker or compiler calls [`enter`] once, before it reads anything hostile. What the platform lacks is left out of
//! the list that comes back, which is shown by `mesh doctor` and stands in every receipt.
// spec: SBX-9

use crate::wire::HostDir;

/// Who is behind the walls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    /// Runs guests; sees these folders and no others.
    Worker(&'a [HostDir]),
    /// Compiles one module; may use so many bytes of address space and seconds of CPU.
    Compiler { address_space: u64, cpu_seconds: u64 },
}

/// Most bytes of machine code: many times what the largest module admitted gives.
const MAX_CODE: u64 = 1 << 30;

/// Every wall there is, by name.
pub const ALL: [&str; 6] =
    ["landlock", "no-inherited-descriptors", "no-new-privileges", "process", "rlimits", "seccomp"];

#[cfg(target_os = "linux")]
pub(crate) fn enter(who: Who<'_>) -> Result<Vec<String>, String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limits = |resource, value: u64, maximum: u64| {
        // Never more than we were given ourselves.
        let most = |value: u64| Some(getrlimit(resource).maximum.map_or(value, |most| value.min(most)));
        let limit = Rlimit { current: most(value), maximum: most(maximum) };
        setrlimit(resource, limit).map_err(|error| format!("set a resource limit: {error}"))
    };
    let limit = |resource, value: u64| limits(resource, value, value);
    let mut walls = vec!["process".to_owned(), "no-inherited-descriptors".to_owned()];
    // A core file would hold a stranger's data. Inputs and shares may take 2,000 descriptors, the guest's own files and
    // folders of this machine 1,024 more.
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 4_096)?;
    limit(Resource::Memlock, 0)?;
    limit(Resource::Msgqueue, 0)?;
    if let Who::Compiler { address_space, cpu_seconds } = who {
        limit(Resource::As, address_space)?;
        // Where both are the same, the kernel does not say that it was this.
        limits(Resource::Cpu, cpu_seconds, cpu_seconds.saturating_add(1))?;
        // The code is written to a file in memory, which nothing else bounds.
        limit(Resource::Fsize, MAX_CODE)?;
    }
    walls.push("rlimits".into());
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("give up privileges: {error}"))?;
    walls.push("no-new-privileges".into());
    if landlock(who) {
        walls.push("landlock".into());
    }
    if seccomp(who)? {
        walls.push("seccomp".into());
    }
    walls.sort();
    Ok(walls)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn enter(_who: Who<'_>) -> Result<Vec<String>, String> {
    Ok(vec!["process".into()])
}

/// Ends this process when the thread that started it ends: so nothing is left over however its program dies, stopped
/// or stuck as this process may be.
// spec: SBX-8
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent() -> bool {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() -> bool {
    true
}

/// Closes everything but stdin, stdout and stderr, whatever the program that started us left open.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "close_range has no safe wrapper; called before any descriptor of ours is opened"
)]
pub(crate) fn close_inherited() {
    // SAFETY: called first thing in a process of ours, when nothing above 2 is owned by any object.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn close_inherited() {}

/// A write beyond the largest size of a file is an error like any other and ends no process.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "what a signal does has no safe wrapper")]
pub(crate) fn survive_full_files() {
    // SAFETY: the signal is ignored; no code of ours runs in a handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn survive_full_files() {}

#[cfg(target_os = "linux")]
fn landlock(who: Who<'_>) -> bool {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, Scope,
    };
    let abi = ABI::V6;
    let dirs = match who {
        Who::Worker(dirs) => dirs,
        Who::Compiler { .. } => &[],
    };
    let restrict = || -> Result<RulesetStatus, Box<dyn std::error::Error>> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?;
        for dir in dirs {
            let access = if dir.writable { AccessFs::from_all(abi) } else { AccessFs::from_read(abi) };
            let access = access
                & !landlock::make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeSock | MakeFifo});
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(&dir.host)?, access))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    };
    matches!(restrict(), Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced))
}

/// System calls of a process that computes, maps memory and talks over descriptors it already has.
#[cfg(target_os = "linux")]
const COMPUTE: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What a worker needs besides to serve folders of this machine: names and threads that wait for the disk.
#[cfg(target_os = "linux")]
const FOLDERS: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

#[cfg(target_os = "linux")]
fn seccomp(who: Who<'_>) -> Result<bool, String> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let arch = match std::env::consts::ARCH {
        "x86_64" => TargetArch::x86_64,
        "aarch64" => TargetArch::aarch64,
        _ => return Ok(false),
    };
    let folders = matches!(who, Who::Worker(dirs) if !dirs.is_empty());
    let extra = if folders { FOLDERS } else { &[] };
    let rules = COMPUTE.iter().chain(extra).map(|&call| (call, Vec::new())).collect();
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow, arch)
            .map_err(|error| format!("build the system call filter: {error}"))?;
    let program =
        BpfProgram::try_from(filter).map_err(|error| format!("build the system call filter: {error}"))?;
    // A kernel without seccomp is a missing wall, said as such, not a failure.
    Ok(seccompiler::apply_filter(&program).is_ok())
}
