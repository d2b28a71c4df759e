//! Doing something inside another network namespace.
//!
//! A namespace is a property of a thread, so that a short-lived thread can enter one while the rest of the
//! process stays where it is. Descriptors opened inside (sockets, `/dev/net/tun`, files under `/proc`)
//! keep referring to it after the thread is gone.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Where `ip netns` keeps the namespaces that it names.
const NAMED: &str = "/run/netns";

/// Why a namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is no such file.
    #[error("network namespace {} does not exist; `ip netns list` shows those that do", .0.display())]
    Missing(PathBuf),
    /// The kernel did not let us in.
    #[error("network namespace {} cannot be entered: {source}; it takes CAP_SYS_ADMIN and a file of type nsfs", path.display())]
    Enter {
        /// The namespace's file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The file of a namespace that a config names: a path as it is, any other name as `ip netns` has it.
pub fn path(name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) }
}

/// Runs `f` inside the namespace whose file is `netns`, or here when that is `None`.
pub fn within<T: Send>(
    netns: Option<&Path>,
    f: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let Some(path) = netns else { return Ok(f()) };
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NetnsError::Missing(path.to_owned()),
        _ => NetnsError::Enter { path: path.to_owned(), source },
    })?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
                |errno| NetnsError::Enter { path: path.to_owned(), source: errno.into() },
            )?;
            Ok(f())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
