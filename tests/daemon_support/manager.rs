//! A service manager as systemd is one: a socket on which it is told things, and a store of
//! descriptors that it keeps and gives back (sd_notify(3), sd_listen_fds(3)).

use super::daemon::{Daemon, PATIENCE, wait_for};
use super::{Space, sys};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// What is kept, by name.
    pub(crate) store: Vec<(String, OwnedFd)>,
    /// What was said but for what is about the store.
    pub(crate) told: Vec<String>,
}

impl Manager {
    pub(crate) fn new(space: &Space) -> Manager {
        let path = std::env::temp_dir().join(format!("{}.notify", space.name));
        let socket = UnixDatagram::bind(&path).expect("the socket can be made");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        Manager { socket, path, store: Vec::new(), told: Vec::new() }
    }

    /// Starts a daemon and waits until it is ready: it is told where to report, and given what is in
    /// the store. `variables` are more of its environment.
    pub(crate) fn start(&mut self, daemon: &mut Daemon, space: &Space, variables: &[(&str, &str)]) {
        let command = daemon.command(space, "");
        let names: Vec<_> = self.store.iter().map(|(name, _)| name.as_str()).collect();
        let mut managed = Command::new("sh");
        // The shell's number is the daemon's, since each program becomes the next.
        managed.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(command.get_program());
        managed.args(command.get_args());
        managed.env("NOTIFY_SOCKET", &self.path).env("LISTEN_FDS", names.len().to_string());
        managed.env("LISTEN_FDNAMES", names.join(":")).envs(variables.iter().copied());
        sys::give(&mut managed, self.store.iter().map(|(_, fd)| fd));
        daemon.spawn_by(managed);
        self.hears("READY=1");
        wait_for("the daemon to answer", || daemon.is_ready());
    }

    /// Waits until it is told something that begins so, and returns the rest; forgets it.
    pub(crate) fn hears(&mut self, words: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.told.iter().position(|told| told.starts_with(words)) {
                return self.told.remove(at)[words.len()..].to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "not told {words}; told {:?}", self.told);
            self.listen();
        }
    }

    /// Waits until it is not told so for a while.
    pub(crate) fn misses(&mut self, words: &str, time: Duration) {
        let start = Instant::now();
        let mut last = start;
        while last.elapsed() < time {
            assert!(start.elapsed() < PATIENCE, "told {words} again and again");
            self.listen();
            if self.told.iter().any(|told| told == words) {
                self.told.retain(|told| told != words);
                last = Instant::now();
            }
        }
    }

    /// Waits until something is so of the store.
    pub(crate) fn keeps(&mut self, is_so: impl Fn(&[(String, OwnedFd)]) -> bool) {
        let start = Instant::now();
        while !is_so(&self.store) {
            assert!(start.elapsed() < PATIENCE, "the store has {:?}", self.store);
            self.listen();
        }
    }

    /// Takes a message, if there is one.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let Ok(message) = recvmsg(&self.socket, &mut pieces, &mut ancillary, flags) else { return };
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
        let text = std::str::from_utf8(&bytes[..message.bytes]).expect("messages are text");
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or("stored").to_owned();
        if lines.iter().any(|line| line == "FDSTOREREMOVE=1") {
            self.store.retain(|(stored, _)| *stored != name);
            return;
        }
        if lines.iter().any(|line| line == "FDSTORE=1") {
            self.store.extend(descriptors.into_iter().map(|fd| (name.clone(), fd)));
            return;
        }
        self.told.append(&mut lines);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
