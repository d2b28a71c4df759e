//! What the lab leaves on the machine while it is up, written before any of it is made.
//!
//! One lab at a time: every command that changes the lab holds [`Lock`]. A lab is *being built* (or
//! demonstrated) by a process, or *up*. What finds a lab whose builder is gone knows that it
//! crashed, and removes all that the state names.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// State, sockets, configs and logs of the lab.
pub(super) const DIRECTORY: &str = "/run/cableway-lab";

/// What there is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// The topology's file.
    pub(super) file: String,
    /// The process that builds it; absent once it is up.
    pub(super) builder: Option<u32>,
    /// Namespaces as (name of node or pod, namespace), in the order they are made.
    pub(super) namespaces: Vec<(String, String)>,
}

impl State {
    /// The state of this machine, if it has a lab.
    pub(super) fn load() -> Result<Option<Self>> {
        let path = file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        let state = serde_json::from_str(&text).map_err(io::Error::other);
        Ok(Some(state.map_err(|source| Error::io("read", &path, source))?))
    }

    /// Writes it, whole or not at all.
    pub(super) fn store(&self) -> Result<()> {
        let directory = Path::new(DIRECTORY);
        fs::create_dir_all(directory).map_err(|source| Error::io("make", directory, source))?;
        let text = serde_json::to_string_pretty(self).expect("strings and numbers only");
        let (path, new) = (file(), directory.join("state.json.new"));
        fs::write(&new, text).map_err(|source| Error::io("write", &new, source))?;
        fs::rename(&new, &path).map_err(|source| Error::io("write", &path, source))
    }

    /// Removes the directory with all in it.
    pub(super) fn remove() -> Result<()> {
        let directory = Path::new(DIRECTORY);
        match fs::remove_dir_all(directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory, e)),
            _ => Ok(()),
        }
    }

    /// The namespace of a node or pod.
    pub(super) fn namespace(&self, name: &str) -> Result<&str> {
        let mut all = self.namespaces.iter();
        let found = all.find(|(n, _)| n == name).map(|(_, netns)| netns.as_str());
        found.ok_or_else(|| Error::Unknown {
            name: name.into(),
            known: self.namespaces.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

fn file() -> PathBuf {
    Path::new(DIRECTORY).join("state.json")
}

/// Held by the one command that changes the lab: an abstract socket, which the kernel takes away
/// with the process, however that ends.
pub(super) struct Lock(#[expect(dead_code, reason = "its being bound is the lock")] UnixListener);

impl Lock {
    /// Takes it, or says that another has it.
    pub(super) fn take() -> Result<Self> {
        let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name("cableway-lab")?);
        bind().map(Self).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => Error::Busy,
            _ => Error::Io { doing: "take the lab's lock".into(), source: e },
        })
    }
}
