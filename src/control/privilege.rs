//! Whether we may do what a daemon must, asked before anything is done.

use rustix::thread::{CapabilitySet, capabilities};

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
