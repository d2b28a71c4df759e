//! Every example in `configs/` is a valid config, and every file in `tests/bad-configs/` is refused
//! with exactly the errors in the `.stderr` file beside it.
//!
//! `UPDATE_EXPECT=1 cargo test --test config` writes the `.stderr` files anew.
#![allow(clippy::unwrap_used)]

use cableway::config::Config;
use std::fs;
use std::path::{Path, PathBuf};

/// The `.toml` files of a folder of this package.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn examples_are_valid() {
    for path in files("configs") {
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("\n{errors}"));
        let again = Config::parse(&config.to_toml(), "again").unwrap();
        assert_eq!(config, again, "{} is the same when written and read again", path.display());
    }
}

#[test]
fn errors_are_as_expected() {
    for path in files("tests/bad-configs") {
        let name = path.file_name().unwrap().to_string_lossy();
        let errors = Config::parse(&fs::read_to_string(&path).unwrap(), &name);
        let found = format!("{}\n", errors.expect_err(&name));
        let expected = path.with_extension("stderr");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(expected, found).unwrap();
        } else {
            let expected = fs::read_to_string(&expected).unwrap_or_default();
            assert!(found == expected, "{name}\nexpected:\n{expected}\nfound:\n{found}");
        }
    }
}
