//! Files beside the management socket, in which a daemon writes down what is to be known after it was
//! killed. The socket keeps a second daemon out, and so these files have one writer.
//!
//! They are replaced as a whole, so that whenever we are killed there is one or the other. They are
//! not forced to disk: what a power cut leaves of them is of no use to anybody, because what they
//! tell of went with the kernel.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The namespace of the calling thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Which network namespace a file tells of, by device and inode. What was in another one went with
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace(u64, u64);

impl Namespace {
    /// That of the calling thread; no namespace's where that can't be known.
    pub fn here() -> Namespace {
        fs::metadata(NAMESPACE).map(|file| Namespace(file.dev(), file.ino())).unwrap_or_default()
    }

    /// Whether it is ours.
    pub fn is_here(&self) -> bool {
        *self != Namespace::default() && *self == Namespace::here()
    }
}

/// Such a file. It need not be there.
#[derive(Clone, Debug)]
pub struct Beside {
    path: PathBuf,
    new: PathBuf,
}

impl Beside {
    /// The file beside `socket` with this extension in the place of its own.
    pub fn new(socket: &Path, extension: &str) -> Beside {
        let new = socket.with_extension(format!("{extension}.new"));
        Beside { path: socket.with_extension(extension), new }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` when it is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts what `write` writes in its place, for our user only. What is written to the file that is
    /// returned comes behind that.
    ///
    /// # Errors
    /// When it can't be written; it is then as it was.
    pub fn replace(
        &self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<File> {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.new)?;
        let mut out = BufWriter::new(&file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        fs::rename(&self.new, &self.path)?;
        Ok(file)
    }

    /// Removes it; whether it was there.
    pub fn remove(&self) -> bool {
        let _ = fs::remove_file(&self.new);
        fs::remove_file(&self.path).is_ok()
    }
}
