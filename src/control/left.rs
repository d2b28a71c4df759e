//! What a killed daemon leaves behind that nothing marks as its own, written down before it is done.
//!
//! A device has an alias, and the nftables table a name; a setting of the kernel or a neighbour that
//! it keeps resolved has neither. So they stand in a file beside the management socket for as long as
//! they are to be undone; the next daemon with that socket finds them there, or `cableway cleanup`.

use super::beside::{Beside, Namespace};
use super::outside::setting::Setting;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// What is to be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Where.
    namespace: Namespace,
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
    file: Beside,
    written: Left,
}

impl LeftFile {
    /// The file beside a management socket, and what it says was left in our namespace.
    pub fn open(socket: &Path) -> (LeftFile, Left) {
        let file = Beside::new(socket, "left");
        let left = match read(&file) {
            Ok(left) => left.filter(|left| left.namespace.is_here()).unwrap_or_default(),
            Err(error) => {
                let path = file.path().display();
                tracing::warn!("{path}: {error}; what it says was left stays");
                Left::default()
            }
        };
        (LeftFile { file, written: left.clone() }, left)
    }

    /// Writes down what is to be undone, unless that stands there already.
    pub fn write(&mut self, mut left: Left) {
        left.namespace = Namespace::here();
        if left == self.written {
            return;
        }
        if let Err(error) = self.file.replace(|out| Ok(serde_json::to_writer(out, &left)?)) {
            let path = self.file.path().display();
            tracing::warn!("{path}: {error}; if we are killed it is not known what to undo");
        }
        self.written = left;
    }

    /// Nothing is to be undone any more.
    pub fn remove(self) {
        self.file.remove();
    }
}

fn read(file: &Beside) -> io::Result<Option<Left>> {
    Ok(file.read()?.map(|text| serde_json::from_slice(&text)).transpose()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

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
