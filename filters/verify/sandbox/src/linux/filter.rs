//! The allow-list of system calls. What is not on it fails with *operation not permitted*; what no honest program tries
//! ends the process with SIGSYS, so that the attempt shows in the outcome.

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_PARENT,
    MAP_ANONYMOUS, MAP_SHARED, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use std::collections::BTreeMap;

type Error = Box<dyn std::error::Error>;

/// The filters, in the order in which they are installed. Where several speak, the severest is heard, and of equal ones
/// the last. `sockets` allows those of this machine, which reach nobody where the network is a cell's own.
pub(super) fn programs(sockets: bool) -> Result<Vec<BpfProgram>, Error> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    // Without `clone3` the C library falls back to `clone`, whose flags a filter can see.
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let allowed = [ALLOWED, LEGACY, &CONDITIONAL, if sockets { SOCKETS } else { &[] }].concat();
    let conditions = SeccompFilter::new(
        conditions()?,
        SeccompAction::Allow,
        refused.clone(),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    Ok(vec![
        by_number(&allowed, SeccompAction::Allow, refused)?,
        conditions.try_into()?,
        by_number(FATAL, SeccompAction::KillProcess, SeccompAction::Allow)?,
        by_number(&[libc::SYS_clone3], absent, SeccompAction::Allow)?,
    ])
}

/// One action for these calls, another for all others. Every process of a cell compiles the filters anew, so runs of
/// numbers are compared as runs: a few hundred instructions instead of five a call.
fn by_number(calls: &[c_long], these: SeccompAction, others: SeccompAction) -> Result<BpfProgram, Error> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => 0xc000_003e,
        "aarch64" => 0xc000_00b7,
        "riscv64" => 0xc000_00f3,
        other => return Err(format!("no filter for {other}").into()),
    };
    let mut numbers: Vec<u32> = calls.iter().map(|call| u32::try_from(*call)).collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let jump = |test: u32, k, jt, jf| instruction(libc::BPF_JMP | test | libc::BPF_K, jt, jf, k);
    let end = |action: SeccompAction| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::from(action));
    // `struct seccomp_data`: the number, then the architecture.
    let mut program = vec![load(4), jump(libc::BPF_JEQ, architecture, 1, 0), end(SeccompAction::KillProcess), load(0)];
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        if first == last {
            program.push(jump(libc::BPF_JEQ, *first, 0, 1));
        } else {
            program.push(jump(libc::BPF_JGE, *first, 0, 2));
            program.push(jump(libc::BPF_JGT, *last, 1, 0));
        }
        program.push(end(these.clone()));
    }
    program.push(end(others));
    Ok(program)
}

/// Puts this process under the filters, for good.
pub(super) fn apply(programs: &[BpfProgram]) -> Result<(), Error> {
    for program in programs {
        seccompiler::apply_filter(program)?;
    }
    Ok(())
}

/// A program as the kernel takes it: eight bytes an instruction.
pub(super) fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |i: &sock_filter| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&i.code.to_ne_bytes());
        bytes[2..4].copy_from_slice(&[i.jt, i.jf]);
        bytes[4..].copy_from_slice(&i.k.to_ne_bytes());
        bytes
    };
    program.iter().flat_map(instruction).collect()
}

/// Calls that are allowed but for some arguments: see `conditions`.
const CONDITIONAL: [c_long; 6] =
    [libc::SYS_clone, libc::SYS_mmap, libc::SYS_socketpair, libc::SYS_prlimit64, libc::SYS_ioctl, libc::SYS_prctl];

/// Sockets between a cell's processes, as `multiprocessing` makes them; of which kinds: see `conditions`.
const SOCKETS: &[c_long] =
    &[libc::SYS_socket, libc::SYS_bind, libc::SYS_listen, libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4];

/// What is refused of calls that are allowed otherwise.
fn conditions() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    use SeccompCmpOp::{MaskedEq, Ne};
    let condition = |argument: u8, operation, value: u64| {
        Ok::<_, Error>(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)?)
    };
    let all_of = |flags: i32| {
        let flags = u64::from(flags as u32);
        (MaskedEq(flags), flags)
    };
    // None of these is the argument.
    let none_of = |argument: u8, values: &[u64]| {
        let conditions =
            values.iter().map(|value| condition(argument, Ne, *value)).collect::<Result<Vec<_>, Error>>()?;
        Ok::<_, Error>(vec![SeccompRule::new(conditions)?])
    };
    // Threads and processes, but no namespaces, and nobody beside a parent that is out of the cell: only that parent could
    // wait for such a process, and the cell would not end before it does.
    let refused = [
        CLONE_NEWNS,
        CLONE_NEWCGROUP,
        CLONE_NEWUTS,
        CLONE_NEWIPC,
        CLONE_NEWUSER,
        CLONE_NEWPID,
        CLONE_NEWNET,
        CLONE_PARENT,
    ];
    let flag = |flag: &i32| {
        let (operation, value) = all_of(*flag);
        Ok(SeccompRule::new(vec![condition(0, operation, value)?])?)
    };
    // Shared anonymous memory outlives its mapping unseen, so that nobody could count it.
    let (operation, value) = all_of(MAP_SHARED | MAP_ANONYMOUS);
    let shared = SeccompRule::new(vec![condition(3, operation, value)?])?;
    // Questions to a descriptor; nothing that types into a terminal.
    let questions = [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];
    let options = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_PDEATHSIG,
        libc::PR_GET_DUMPABLE,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_CAPBSET_READ,
        libc::PR_GET_SECCOMP,
        libc::PR_SET_SECCOMP,
        libc::PR_SET_VMA,
    ];
    Ok(BTreeMap::from([
        (libc::SYS_clone, refused.iter().map(flag).collect::<Result<Vec<_>, Error>>()?),
        (libc::SYS_mmap, vec![shared]),
        // For event loops, and for processes that speak to each other.
        (libc::SYS_socketpair, none_of(0, &[libc::AF_UNIX as u64])?),
        (libc::SYS_socket, none_of(0, &[libc::AF_UNIX as u64])?),
        // Its own limits only.
        (libc::SYS_prlimit64, none_of(0, &[0])?),
        (libc::SYS_ioctl, none_of(1, &questions)?),
        (libc::SYS_prctl, none_of(0, &options.map(|option| option as u64))?),
    ]))
}

/// What only somebody who wants out calls.
const FATAL: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_clock_settime,
    libc::SYS_pidfd_getfd,
];

/// What programs, compilers and interpreters need. Calls with conditions are in `CONDITIONAL`.
const ALLOWED: &[c_long] = &[
    // Files, all beneath the read-only root or the tmpfs.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_signalfd4,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_restart_syscall,
    // Ends of socket pairs.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    // Signals, which cannot leave the pid namespace.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    // Processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_getrusage,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_getcpu,
    libc::SYS_get_mempolicy,
    // What machine this is.
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // More filters of its own, which can only take away.
    libc::SYS_seccomp,
];

/// Older spellings that only some processors have.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
];
/// Older spellings that only some processors have.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program answers to a call, run as the kernel runs it.
    fn answer(program: &BpfProgram, call: c_long, arguments: [u64; 6]) -> u32 {
        let (mut held, mut place) = (0_u32, 0);
        loop {
            let i = &program[place];
            place += 1;
            let yes = match u32::from(i.code) & 0xf0 {
                libc::BPF_JEQ => held == i.k,
                libc::BPF_JGE => held >= i.k,
                libc::BPF_JGT => held > i.k,
                _ => false,
            };
            match u32::from(i.code) & 0x07 {
                libc::BPF_RET => return i.k,
                libc::BPF_JMP if u32::from(i.code) & 0xf0 == libc::BPF_JA => place += i.k as usize,
                libc::BPF_JMP => place += usize::from(if yes { i.jt } else { i.jf }),
                libc::BPF_ALU => held &= i.k,
                _ => {
                    held = match i.k {
                        0 => call as u32,
                        4 => {
                            if cfg!(target_arch = "x86_64") {
                                0xc000_003e
                            } else {
                                0xc000_00b7
                            }
                        }
                        offset => {
                            let word = arguments[(offset as usize - 16) / 8];
                            if offset % 8 == 0 { word as u32 } else { (word >> 32) as u32 }
                        }
                    }
                }
            }
        }
    }

    /// The severest of what all say: the kernel's rule.
    fn verdict(call: c_long, arguments: [u64; 6]) -> u32 {
        let severity = |action: &u32| match action >> 16 {
            0x8000 => 0,
            0x0005 => 1,
            _ => 2,
        };
        let programs = programs(true).expect("filters");
        let answers: Vec<u32> = programs.iter().map(|program| answer(program, call, arguments)).collect();
        // Of equal ones the last; `min_by_key` would give the first.
        answers.iter().rev().min_by_key(|action| severity(action)).copied().expect("an answer")
    }

    #[test]
    fn calls_are_allowed_refused_or_fatal() {
        let (allow, eperm, enosys, kill) = (0x7fff_0000, 0x0005_0001, 0x0005_0026, 0x8000_0000);
        let none = [0; 6];
        let at = |place: usize, value: u64| {
            let mut arguments = none;
            arguments[place] = value;
            arguments
        };
        for (name, call, arguments, expected) in [
            ("read", libc::SYS_read, none, allow),
            ("openat", libc::SYS_openat, none, allow),
            ("a socket of the network", libc::SYS_socket, at(0, libc::AF_INET as u64), eperm),
            ("a socket to the kernel", libc::SYS_socket, at(0, libc::AF_NETLINK as u64), eperm),
            ("a socket of this machine", libc::SYS_socket, at(0, libc::AF_UNIX as u64), allow),
            ("listening", libc::SYS_listen, none, allow),
            ("memfd_create", libc::SYS_memfd_create, none, eperm),
            ("a number nobody has", 100_000, none, eperm),
            ("a call of the x32 kind", 0x4000_0000, none, eperm),
            ("ptrace", libc::SYS_ptrace, none, kill),
            ("io_uring", libc::SYS_io_uring_setup, none, kill),
            ("clone3", libc::SYS_clone3, none, enosys),
            ("a process", libc::SYS_clone, at(0, libc::SIGCHLD as u64), allow),
            ("a thread", libc::SYS_clone, at(0, 0x003d_0f00), allow),
            ("a process beside its parent", libc::SYS_clone, at(0, CLONE_PARENT as u64 | 17), eperm),
            ("a thread beside its parent", libc::SYS_clone, at(0, CLONE_PARENT as u64 | 0x003d_0f00), eperm),
            ("a user namespace", libc::SYS_clone, at(0, CLONE_NEWUSER as u64 | 17), eperm),
            ("a network namespace", libc::SYS_clone, at(0, CLONE_NEWNET as u64 | 17), eperm),
            ("private memory", libc::SYS_mmap, at(3, 0x22), allow),
            ("a shared file", libc::SYS_mmap, at(3, 0x01), allow),
            ("shared memory", libc::SYS_mmap, at(3, 0x21), eperm),
            ("a pair of sockets", libc::SYS_socketpair, at(0, 1), allow),
            ("a pair of others", libc::SYS_socketpair, at(0, 16), eperm),
            ("its own limits", libc::SYS_prlimit64, none, allow),
            ("another's limits", libc::SYS_prlimit64, at(0, 1), eperm),
            ("asking a terminal", libc::SYS_ioctl, at(1, libc::TCGETS), allow),
            ("typing into a terminal", libc::SYS_ioctl, at(1, libc::TIOCSTI), eperm),
            ("its name", libc::SYS_prctl, at(0, 15), allow),
            ("its memory map", libc::SYS_prctl, at(0, 35), eperm),
        ] {
            let found = verdict(call, arguments);
            assert_eq!(found, expected, "{name}: {found:#x}, expected {expected:#x}");
        }
    }

    #[test]
    fn without_a_network_of_its_own_there_are_no_sockets() {
        let programs = programs(false).expect("filters");
        let arguments = [libc::AF_UNIX as u64, 1, 0, 0, 0, 0];
        let refused = programs.iter().any(|program| answer(program, libc::SYS_socket, arguments) == 0x0005_0001);
        assert!(refused, "a socket");
    }

    #[test]
    fn the_filters_stay_small() {
        let sizes: Vec<usize> = programs(true).expect("filters").iter().map(Vec::len).collect();
        assert!(sizes.iter().sum::<usize>() < 500, "every process compiles them: {sizes:?}");
    }
}
