//! Turns: of a lab and of a bench's arena there is one on a machine.

use std::fs::File;

/// This test's turn, until it is dropped.
pub(crate) struct Turn {
    _unlocked_when_closed: File,
}

impl Turn {
    /// Waits for the turn to have `what`. None where namespaces cannot be.
    pub(crate) fn take(what: &str) -> Option<Turn> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "a {what} is tested as root");
            eprintln!("not tested: a {what} needs root; `make test` asks sudo for it");
            return None;
        }
        let path = std::env::temp_dir().join(format!("cableway-{what}-tests.lock"));
        let file = File::options().create(true).append(true).open(path).expect("it can be written");
        file.lock().expect("it can be locked");
        Some(Turn { _unlocked_when_closed: file })
    }
}
