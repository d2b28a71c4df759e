//! The desired state from one life to the next, when a new version takes over.

use super::desired::Saved;
use super::supervisor::{self, Held};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};

/// The name by which it is given.
pub(super) const NAME: &str = "state";

/// As a file without a name.
///
/// # Errors
/// When there is no memory or no descriptor left for it.
pub fn write(state: &Saved) -> io::Result<Held> {
    let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
    let mut out = BufWriter::new(&file);
    serde_json::to_writer(&mut out, state)?;
    out.flush()?;
    drop(out);
    file.rewind()?;
    Ok(Held { name: NAME.to_owned(), descriptor: file.into() })
}

/// What was given to us, if it was.
pub fn given() -> Option<Saved> {
    let file = supervisor::take(NAME).pop()?;
    let read = serde_json::from_reader(BufReader::new(File::from(file)));
    read.map_err(|error| {
        tracing::error!(
            "the state of the version before can't be read ({error}); beginning with the config \
             file alone"
        );
    })
    .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::control::desired::Desired;

    #[test]
    fn what_is_written_is_read() {
        let file = include_str!("../../configs/node.toml");
        let state = Saved::of(&Desired::new(Config::parse(file, "node.toml").unwrap()));
        let written = write(&state).unwrap();
        let text = BufReader::new(File::from(written.descriptor));
        assert_eq!(serde_json::from_reader::<_, Saved>(text).unwrap(), state);
    }
}
