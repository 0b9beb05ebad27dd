//! What a program is put under in its last moment as somebody else's code: limits, another user, no capabilities,
//! Landlock, the filters. The order matters: every step takes away what the next ones no longer need.

use super::filter;
use crate::Limits;
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    Scope,
};
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, setrlimit, setsid},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use seccompiler::BpfProgram;

/// The user and group of contained programs, inside.
pub(super) const PROGRAM_ID: u32 = 1000;
/// Address space beyond the memory limit: libraries, stacks, what is reserved and never touched.
const RESERVE: u64 = 512 << 20;
/// Address space that a thread's allocator reserves beside its stack, and gives most of back.
const ARENA: u64 = 128 << 20;
/// Processes of ours that count as the same user's where only one user can be mapped.
const OURS: u64 = 8;

/// The Landlock ruleset of a cell: everything may be read, only `/tmp` written, no TCP, nothing signalled outside.
/// `None` where the kernel has no Landlock.
pub(super) fn landlock() -> Result<Option<RulesetCreated>, Box<dyn std::error::Error>> {
    let abi = ABI::V6;
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, read))?
        .add_rule(PathBeneath::new(PathFd::new("/tmp")?, AccessFs::from_all(abi)))?
        .add_rule(PathBeneath::new(PathFd::new("/dev/null")?, device))?;
    Ok(Some(rules))
}

/// Puts this process under everything. It can only execute the program now.
pub(super) fn confine(
    limits: &Limits,
    landlock: Option<RulesetCreated>,
    filters: &[BpfProgram],
) -> Result<(), Box<dyn std::error::Error>> {
    setsid()?;
    for (resource, limit) in resources(limits) {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    // Where only one user can be mapped, groups cannot be given up; they are nobody's inside.
    let _ = set_thread_groups(&[]);
    let (user, group) = (Uid::from_raw(PROGRAM_ID), Gid::from_raw(PROGRAM_ID));
    drop_bounding();
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    if let Some(rules) = landlock {
        rules.restrict_self()?;
    }
    filter::apply(filters)
}

/// Nothing executed from now on can have capabilities.
fn drop_bounding() {
    for bit in 0..64 {
        // A capability that this kernel does not know, or one that is gone already.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
}

/// The limits of every process of a cell.
fn resources(limits: &Limits) -> [(Resource, u64); 10] {
    let [space, seconds, file, open, processes, stack] = numbers(limits);
    [
        (Resource::As, space),
        (Resource::Cpu, seconds),
        (Resource::Fsize, file),
        (Resource::Nofile, open),
        (Resource::Nproc, processes),
        (Resource::Stack, stack),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 64),
    ]
}

/// Address space: what may be used, and for as many threads as there may be what each reserves and hardly touches.
fn space(limits: &Limits) -> u64 {
    let threads = limits.processes.saturating_mul(limits.stack_bytes.saturating_add(ARENA));
    limits.memory_bytes.saturating_add(RESERVE).saturating_add(threads)
}

/// Address space, CPU seconds, bytes of a file, descriptors, processes, stack: what an interpreter that is kept warm is
/// told, in this order. The CPU limit is a backstop behind the watch, a second later.
pub(super) fn numbers(limits: &Limits) -> [u64; 6] {
    [
        space(limits),
        limits.cpu_ms.div_ceil(1000) + 1,
        limits.disk_bytes,
        limits.open_files,
        limits.processes + OURS,
        limits.stack_bytes,
    ]
}
