//! What the kernel knows and does about links, addresses, routes and neighbours: rtnetlink, in our
//! own namespace or in a pod's.
//!
//! A [`Netlink`] is a connection to one namespace; its methods stand in the file of their noun.
//! They say which namespace and which object an error is about, because the kernel's errno does
//! not.

mod address;
mod events;
mod link;
mod neighbour;
mod route;

pub use events::{Changes, Events, Table};
pub use link::{Change, LinkFacts, Veth, VethEnd};
pub use neighbour::NeighbourFacts;
pub use route::{Route, Via};

use crate::io::netns::{self, NetnsError};
use std::io;
use std::path::{Path, PathBuf};

/// A connection to the kernel's tables of one network namespace.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    netns: Option<PathBuf>,
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel said no.
    #[error("{doing}{place}: {source}{}", hint(.source))]
    Request {
        /// What was asked for.
        doing: String,
        /// ` in namespace x`, or nothing when it is ours.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What to do about an error, where the kernel's word for it doesn't tell.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "; remove what is there, or correct the config",
        io::ErrorKind::PermissionDenied => "; run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN",
        _ => "",
    }
}

impl Netlink {
    /// Connects to `netns`, or to our own namespace when it is `None`. Must be called within a
    /// tokio runtime, which serves the connection until the last clone of it is dropped.
    ///
    /// # Errors
    /// When the namespace can't be entered or the socket can't be had.
    pub fn connect(netns: Option<&Path>) -> Result<Netlink, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let made = netns::within(netns, || {
            let _guard = runtime.enter();
            rtnetlink::new_connection()
        })?;
        let (connection, handle, _) = made.map_err(|source| NetlinkError::Request {
            doing: "opening a netlink socket".to_owned(),
            place: place(netns),
            source,
        })?;
        tokio::spawn(connection);
        Ok(Netlink { handle, netns: netns.map(Path::to_owned) })
    }

    /// The namespace it is connected to; `None` is ours.
    pub fn netns(&self) -> Option<&Path> {
        self.netns.as_deref()
    }

    fn error(&self, doing: impl Into<String>, error: rtnetlink::Error) -> NetlinkError {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        NetlinkError::Request { doing: doing.into(), place: place(self.netns.as_deref()), source }
    }
}

fn place(netns: Option<&Path>) -> String {
    netns.map(|netns| format!(" in namespace {}", netns.display())).unwrap_or_default()
}

/// Turns what is not there into `None`: the errnos by which the kernel says so.
fn absent<T>(result: Result<T, rtnetlink::Error>) -> Result<Option<T>, rtnetlink::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rtnetlink::Error::NetlinkError(message)) if is_absence(message.raw_code()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(code: i32) -> bool {
    [
        libc::ENODEV,
        libc::ENOENT,
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EADDRNOTAVAIL,
        libc::ESRCH,
    ]
    .contains(&-code)
}
