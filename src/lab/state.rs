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

/// Where something of namespaces is remembered, and what keeps others from it meanwhile.
#[derive(Debug)]
pub(crate) struct Home {
    /// What is at work there, for messages.
    pub(crate) command: &'static str,
    /// Its state, sockets, configs and logs.
    pub(crate) directory: &'static str,
    /// The abstract socket that is its lock.
    pub(crate) lock: &'static str,
}

/// The lab's.
pub(super) const LAB: Home =
    Home { command: "cableway lab", directory: DIRECTORY, lock: "cableway-lab" };

/// What there is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The topology's file.
    pub(crate) file: String,
    /// The process that builds it; absent once it is up.
    pub(crate) builder: Option<u32>,
    /// Namespaces as (name of node or pod, namespace), in the order they are made.
    pub(crate) namespaces: Vec<(String, String)>,
}

impl Home {
    /// The state of this machine, if it has one.
    pub(crate) fn load(&self) -> Result<Option<State>> {
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        let state = serde_json::from_str(&text).map_err(io::Error::other);
        Ok(Some(state.map_err(|source| Error::io("read", &path, source))?))
    }

    /// Writes it, whole or not at all.
    pub(crate) fn store(&self, state: &State) -> Result<()> {
        let directory = Path::new(self.directory);
        fs::create_dir_all(directory).map_err(|source| Error::io("make", directory, source))?;
        let text = serde_json::to_string_pretty(state).expect("strings and numbers only");
        let (path, new) = (self.file(), directory.join("state.json.new"));
        fs::write(&new, text).map_err(|source| Error::io("write", &new, source))?;
        fs::rename(&new, &path).map_err(|source| Error::io("write", &path, source))
    }

    /// Removes the directory with all in it.
    pub(crate) fn remove(&self) -> Result<()> {
        let directory = Path::new(self.directory);
        match fs::remove_dir_all(directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory, e)),
            _ => Ok(()),
        }
    }

    /// Takes the lock, or says that another has it.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(self.lock)?);
        bind().map(Lock).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => Error::Busy { command: self.command },
            _ => Error::Io { doing: format!("take the lock of `{}`", self.command), source: e },
        })
    }

    fn file(&self) -> PathBuf {
        Path::new(self.directory).join("state.json")
    }
}

impl State {
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

/// Held by the one command that changes the lab: an abstract socket, which the kernel takes away
/// with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "its being bound is the lock")] UnixListener);
