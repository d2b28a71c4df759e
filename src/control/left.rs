//! What a killed daemon leaves behind that nothing marks as its own, written down before it is done.
//!
//! A device has an alias, and the nftables table a name; a setting of the kernel or a neighbour that
//! it keeps resolved has neither. So they stand in a file beside the management socket for as long as
//! they are to be undone; the next daemon with that socket finds them there, or `cableway cleanup`.

use super::outside::setting::Setting;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The namespace of the calling thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What is to be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Device and inode of the network namespace that it is in.
    namespace: (u64, u64),
    /// Settings, in the order in which they were set.
    pub settings: Vec<Setting>,
    /// The nftables table was made.
    pub table: bool,
    /// Neighbours that the kernel keeps resolved: the number of the link, the address.
    pub neighbours: Vec<(u32, IpAddr)>,
}

/// The file.
#[derive(Debug)]
pub struct LeftFile {
    path: PathBuf,
    written: Left,
}

impl LeftFile {
    /// The file beside a management socket, and what it says was left in our namespace. What was in
    /// another one went with it.
    pub fn open(socket: &Path) -> (LeftFile, Left) {
        let path = socket.with_extension("left");
        let left = match read(&path) {
            Ok(left) if namespace().is_ok_and(|here| here == left.namespace) => left,
            Ok(_) => Left::default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Left::default(),
            Err(error) => {
                tracing::warn!("{}: {error}; what it says was left stays", path.display());
                Left::default()
            }
        };
        (LeftFile { path, written: left.clone() }, left)
    }

    /// Writes down what is to be undone, unless that stands there already.
    pub fn write(&mut self, mut left: Left) {
        left.namespace = namespace().unwrap_or_default();
        if left == self.written {
            return;
        }
        // Whole or not at all, whenever we are killed.
        let text = serde_json::to_string(&left).expect("plain values are JSON");
        let new = self.path.with_extension("left.new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written {
            let path = self.path.display();
            tracing::warn!("{path}: {error}; if we are killed it is not known what to undo");
        }
        self.written = left;
    }

    /// Nothing is to be undone any more.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn read(path: &Path) -> io::Result<Left> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn namespace() -> io::Result<(u64, u64)> {
    let file = fs::metadata(NAMESPACE)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_in_its_own_namespace() {
        let directory = std::env::temp_dir().join(format!("kernel-{}-left", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("node.sock");
        let (mut file, left) = LeftFile::open(&socket);
        assert_eq!(left, Left::default());
        let neighbours = vec![(7, "192.0.2.1".parse().unwrap())];
        file.write(Left { table: true, neighbours: neighbours.clone(), ..Left::default() });
        let (file, left) = LeftFile::open(&socket);
        assert_eq!((left.table, left.neighbours), (true, neighbours));
        // That of another namespace.
        let text = fs::read_to_string(directory.join("node.left")).unwrap();
        let other = text.replacen("\"namespace\":[", "\"namespace\":[1", 1);
        fs::write(directory.join("node.left"), other).unwrap();
        assert_eq!(LeftFile::open(&socket).1, Left::default());
        // And none at all.
        fs::write(directory.join("node.left"), "{").unwrap();
        assert_eq!(LeftFile::open(&socket).1, Left::default());
        file.remove();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
    }
}
