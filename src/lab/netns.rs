//! Network namespaces by name, as `ip netns` keeps them.

use super::shell::{self, sh};
use super::{Error, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Makes a namespace in which addresses are usable at once, without duplicate address detection and
/// router solicitations, and in which root may make echo sockets.
pub(crate) fn create(name: &str) -> Result<()> {
    sh!("ip netns add {name}")?;
    sysctl(
        name,
        "net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
         net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 \
         net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
    )?;
    sh!("ip -n {name} link set lo up")?;
    // The calling thread's namespace decides whose setting this file is.
    let may_ping = "/proc/sys/net/ipv4/ping_group_range";
    within(name, || fs::write(may_ping, "0 0"))?
        .map_err(|source| Error::io("write", Path::new(may_ping), source))
}

/// Writes `key=value` settings of the namespace.
pub(crate) fn sysctl(name: &str, settings: &str) -> Result<()> {
    sh!("ip netns exec {name} sysctl -qw {settings}")?;
    Ok(())
}

/// Where a namespace is in the file system.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// Whether there is one of this name.
pub(crate) fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Processes whose main thread is in the namespace.
pub(crate) fn processes(name: &str) -> Vec<rustix::process::Pid> {
    let listing = shell::attempt(&format!("ip netns pids {name}")).unwrap_or_default();
    let pids = listing.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(rustix::process::Pid::from_raw).collect()
}

/// Runs `job` on a thread of its own in the namespace. Sockets and processes that it makes belong
/// to the namespace wherever they are used later.
pub(crate) fn within<T: Send>(name: &str, job: impl FnOnce() -> T + Send) -> Result<T> {
    let run = || {
        enter(name)?;
        Ok(job())
    };
    std::thread::scope(|scope| {
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves the calling thread into the namespace.
fn enter(name: &str) -> Result<()> {
    let path = path(name);
    let enter = || Ok(move_into_link_name_space(File::open(&path)?.as_fd(), NETWORK)?);
    enter().map_err(|source| Error::Io { doing: format!("enter {}", path.display()), source })
}

const NETWORK: Option<LinkNameSpaceType> = Some(LinkNameSpaceType::Network);
