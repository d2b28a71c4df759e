//! A management socket that listened before us: by socket activation, or in the life before an
//! upgrade.

use super::Socket;
use super::socket::NOBODYS;
use crate::control::supervisor::{self, Held};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The name of a socket whose file is the service manager's.
const MANAGERS: &str = "management";
/// The name of a socket whose file was made by an earlier life of ours.
const OURS: &str = "management.own";

impl Socket {
    /// The socket that we were given, if we were and it listens at `path`.
    pub fn given(path: &Path) -> Option<Socket> {
        [MANAGERS, OURS].into_iter().find_map(|name| {
            let listener = UnixListener::from(supervisor::take(name).pop()?);
            let there = listener.local_addr().ok();
            if there.as_ref().and_then(|there| there.as_pathname()) != Some(path) {
                tracing::warn!(
                    "the management socket that was given listens at {there:?}, not at {}; it is \
                     closed, and one made there",
                    path.display()
                );
                return None;
            }
            let file = fs::symlink_metadata(path).ok().filter(|_| name == OURS);
            let identity = file.map_or(NOBODYS, |file| (file.dev(), file.ino()));
            Some(Socket { listener, path: path.to_owned(), identity, directory: None })
        })
    }

    /// The socket for the next life, in which those who connect meanwhile are answered.
    ///
    /// # Errors
    /// When there is no descriptor left for it.
    pub fn hand_on(&self) -> io::Result<Held> {
        let name = if self.identity == NOBODYS { MANAGERS } else { OURS };
        let descriptor = self.listener.try_clone()?.into();
        Ok(Held { name: name.to_owned(), descriptor })
    }
}
