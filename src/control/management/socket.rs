//! The socket's file: one daemon each, for its user only, gone with it.

use crate::config::Node;
use rustix::fs::{FlockOperation, Gid, Mode, chmod, chown, fchmod, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 64;

/// No file has this identity.
pub(super) const NOBODYS: (u64, u64) = (0, 0);

/// A listening socket with its file, which goes away with it.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Device and inode: the file is removed only while it is this one.
    pub(super) identity: (u64, u64),
    /// The directory, when it was made for the file.
    pub(super) directory: Option<PathBuf>,
}

/// The socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon listens on it.
    #[error(
        "management socket {}: another daemon{} answers on it; stop that one, or give this node \
         another `socket`", .path.display(), process(.pid)
    )]
    InUse {
        /// The socket's file.
        path: PathBuf,
        /// The other daemon.
        pid: Option<i32>,
    },
    /// Something that is not a socket has its name.
    #[error(
        "management socket {}: found a file that is not a socket; remove it, or give this node \
         another `socket`", .0.display()
    )]
    NotASocket(PathBuf),
    /// Nobody is called so.
    #[error(
        "management socket {}: there is no group `{group}`; expected one of /etc/group as \
         `socket-group`", .path.display()
    )]
    NoGroup {
        /// The socket's file.
        path: PathBuf,
        /// The group.
        group: String,
    },
    /// The kernel said no.
    #[error("management socket {}: {doing}: {source}", .path.display())]
    Io {
        /// The socket's file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn process(pid: &Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl Socket {
    /// Listens where a node's config says. Replaces a file that a daemon left that is no more.
    ///
    /// # Errors
    /// When another daemon answers there, or the file can't be made.
    pub fn bind(node: &Node) -> Result<Socket, SocketError> {
        let path = node.socket.as_path();
        let group = node.socket_group.as_deref().map(|name| group(path, name)).transpose()?;
        Socket::open(path, Mode::from_raw_mode(node.socket_mode.bits()), group)
    }

    /// Keeps daemons away that would listen there, for as long as the socket lives.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn hold(path: &Path) -> Result<Socket, SocketError> {
        Socket::open(path, Mode::RUSR | Mode::WUSR, None)
    }

    fn open(path: &Path, mode: Mode, group: Option<Gid>) -> Result<Socket, SocketError> {
        let fail = |doing, source| SocketError::Io { path: path.to_owned(), doing, source };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = make_directory(parent).map_err(|e| fail("making its directory", e))?;
        let undo = Made(directory);
        // Two daemons that start at once must not both find the same stale file and both replace
        // it.
        let lock = File::open(parent).map_err(|e| fail("opening its directory", e))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| fail("locking its directory", e.into()))?;
        remove_stale(path)?;
        let listener = listen(path, mode, group).map_err(|e| fail("listening", e))?;
        let file = fs::symlink_metadata(path).map_err(|e| fail("looking at it", e))?;
        let identity = (file.dev(), file.ino());
        Ok(Socket { listener, path: path.to_owned(), identity, directory: undo.keep() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the runtime.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
        Made(self.directory.take());
    }
}

/// A directory to be removed again unless it is kept, or used by somebody else meanwhile.
struct Made(Option<PathBuf>);

impl Made {
    fn keep(mut self) -> Option<PathBuf> {
        self.0.take()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(directory) = &self.0 {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the directory if it is missing; its parent must be there. Returns what was made.
fn make_directory(directory: &Path) -> io::Result<Option<PathBuf>> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => Ok(Some(directory.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let fail = |doing, source| SocketError::Io { path: path.to_owned(), doing, source };
    match UnixStream::connect(path) {
        Ok(stream) => {
            let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
            let pid = peer.map(|peer| peer.pid.as_raw_nonzero().get());
            Err(SocketError::InUse { path: path.to_owned(), pid })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Nobody listens: either a daemon's that was killed, or no socket at all.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt;
            let file = fs::symlink_metadata(path).map_err(|e| fail("looking at it", e))?;
            if !file.file_type().is_socket() {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            fs::remove_file(path).map_err(|e| fail("removing a stale one", e))
        }
        Err(error) => Err(fail("asking whether a daemon answers on it", error)),
    }
}

fn listen(path: &Path, mode: Mode, group: Option<Gid>) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the mode that the socket has when it is bound: there is no moment at which
    // somebody else could open it. Whom else it is for it learns before it listens.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    chmod(path, mode)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The number of a group, by its line in `/etc/group`: `name:password:number:members`.
fn group(path: &Path, name: &str) -> Result<Gid, SocketError> {
    let fail =
        |source| SocketError::Io { path: path.to_owned(), doing: "reading /etc/group", source };
    let text = fs::read_to_string("/etc/group").map_err(fail)?;
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    let missing = || SocketError::NoGroup { path: path.to_owned(), group: name.to_owned() };
    number.map(Gid::from_raw).ok_or_else(missing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<Socket, SocketError> {
        Socket::bind(&node(path, "0600", None))
    }

    fn node(path: &Path, mode: &str, group: Option<&str>) -> Node {
        Node {
            name: "a".parse().unwrap(),
            socket: path.to_owned(),
            socket_mode: mode.parse().unwrap(),
            socket_group: group.map(str::to_owned),
        }
    }

    #[test]
    fn mode_and_group_are_as_configured() {
        let directory = scratch("group");
        let path = directory.join("x.sock");
        let error = Socket::bind(&node(&path, "0660", Some("no-such-group"))).unwrap_err();
        assert!(error.to_string().contains("no group `no-such-group`"), "{error}");
        let socket = Socket::bind(&node(&path, "0660", Some("root"))).unwrap();
        let file = fs::symlink_metadata(&path).unwrap();
        assert_eq!((file.permissions().mode() & 0o777, file.gid()), (0o660, 0));
        drop(socket);
        fs::remove_dir(&directory).unwrap();
    }
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ctl-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn the_file_is_for_its_user_and_goes_with_the_socket() {
        let directory = scratch("mode");
        let path = directory.join("made/x.sock");
        let socket = bind(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_second_one_is_refused_and_a_stale_file_is_replaced() {
        let directory = scratch("second");
        let path = directory.join("x.sock");
        let socket = bind(&path).unwrap();
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let left = std::mem::ManuallyDrop::new(socket);
        // As after SIGKILL: the descriptor is closed, the file stays.
        rustix::net::shutdown(&left.listener, rustix::net::Shutdown::Both).unwrap();
        let again = bind(&path).unwrap();
        drop(again);
        assert!(!path.exists());
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = scratch("file");
        let path = directory.join("x.sock");
        fs::write(&path, "precious").unwrap();
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(&directory).unwrap();
    }
}
