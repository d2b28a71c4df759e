//! Whether we may do what a daemon must, asked before anything is done; and what else we may do, given
//! up for good.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};
use std::io;

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not privileged enough: found no {}; expected root, or a service with those capabilities \
     (under systemd AmbientCapabilities=)", .0.join(", ")
)]
pub struct PrivilegeError(Vec<&'static str>);

/// What a daemon needs, and for what.
const NEEDED: &[(CapabilitySet, &str)] = &[
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (devices and routes)"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW (AF_XDP sockets)"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN (pods' namespaces)"),
];

/// Checks that this thread has what a daemon needs.
///
/// # Errors
/// With the capabilities that are missing.
pub fn check() -> Result<(), PrivilegeError> {
    // A kernel that can't be asked will say no later, when it is asked to act.
    capabilities(None).map_or(Ok(()), |sets| require(sets.effective))
}

/// What is kept besides, where we have it, for what may be asked of us while we run.
const USEFUL: &[CapabilitySet] = &[
    // Packet memory beyond RLIMIT_MEMLOCK, when the first AF_XDP port comes.
    CapabilitySet::IPC_LOCK,
    // Namespaces of others' processes by /proc/PID/ns/net.
    CapabilitySet::SYS_PTRACE,
];

/// Gives up all capabilities but those that a daemon goes on to use, for itself, its threads to come
/// and what it may execute. To be called while there is one thread.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn reduce() -> io::Result<()> {
    let kept = NEEDED.iter().map(|(capability, _)| *capability).chain(USEFUL.iter().copied());
    let kept: CapabilitySet = kept.collect();
    let sets = capabilities(None)?;
    // Which takes a capability itself: a service manager that gave us none has seen to it.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for other in kept.complement().iter() {
            if capability_is_in_bounding_set(other).unwrap_or(false) {
                remove_capability_from_bounding_set(other)?;
            }
        }
    }
    clear_ambient_capability_set()?;
    let reduced = CapabilitySets {
        effective: sets.effective & kept,
        permitted: sets.permitted & kept,
        inheritable: sets.inheritable & kept,
    };
    Ok(set_capabilities(None, reduced)?)
}

fn require(effective: CapabilitySet) -> Result<(), PrivilegeError> {
    let missing = NEEDED.iter().filter(|(capability, _)| !effective.contains(*capability));
    let missing: Vec<_> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(PrivilegeError(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let error = require(CapabilitySet::NET_ADMIN).expect_err("two are missing").to_string();
        assert!(error.contains("CAP_NET_RAW") && error.contains("CAP_SYS_ADMIN"), "{error}");
        assert!(!error.contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(require(CapabilitySet::all()), Ok(()));
    }
}
