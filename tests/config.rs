//! Every example in `configs/` is a valid config, and every file in `tests/bad-configs/` is refused
//! with exactly the errors in the `.stderr` file beside it; every one in `tests/odd-configs/` is valid,
//! with such warnings. `tests/old-configs/` has what earlier versions came with, by version; those files
//! never change.
//!
//! `UPDATE_EXPECT=1 cargo test --test config` writes the `.stderr` files anew.
#![allow(clippy::unwrap_used)]

use cableway::config::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
fn configs_of_older_versions_are_read() {
    for path in files("tests/old-configs") {
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("\n{errors}"));
        assert!(!config.port.is_empty() && !config.peer.is_empty(), "{}", path.display());
    }
}

#[test]
fn errors_are_as_expected() {
    for path in files("tests/bad-configs") {
        let name = path.file_name().unwrap().to_string_lossy();
        let errors = Config::parse(&fs::read_to_string(&path).unwrap(), &name);
        compare(&path, &errors.expect_err(&name).to_string());
    }
}

#[test]
fn warnings_are_as_expected() {
    for path in files("tests/odd-configs") {
        let mut warnings = String::new();
        let folder = format!("{}/", path.parent().unwrap().display());
        let config = Config::load_warned(&path, |found| {
            warnings = found.to_string().replace(&folder, "");
        });
        config.unwrap_or_else(|errors| panic!("\n{errors}"));
        compare(&path, &warnings);
    }
}

/// What was found of a config is what stands beside it.
fn compare(path: &Path, found: &str) {
    let (expected, found) = (path.with_extension("stderr"), format!("{found}\n"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(expected, found).unwrap();
    } else {
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert!(found == expected, "{}\nexpected:\n{expected}\nfound:\n{found}", path.display());
    }
}

/// What `cableway` prints and the code it exits with.
fn cableway(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_goes_on_after_a_bad_file() {
    let files = ["tests/bad-configs/no-cores.toml", "no-such-file.toml", "configs/node.toml"];
    let (code, out, err) = cableway(&[&["check"], &files[..]].concat());
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(out, "configs/node.toml: ok\n");
    assert!(err.contains("tests/bad-configs/no-cores.toml:5:9: "), "{err}");
    assert!(err.contains("no-such-file.toml: cannot be read: "), "{err}");
    assert_eq!(cableway(&["check", "configs/node.toml"]).0, Some(0));
    assert_eq!(cableway(&["check"]).0, Some(2), "no file is wrong usage");
}

#[test]
fn schema_knows_every_section() {
    let (code, out, err) = cableway(&["schema"]);
    assert_eq!(code, Some(0), "{err}");
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    for path in files("configs") {
        let example: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for section in example.keys() {
            assert!(schema["properties"][section]["description"].is_string(), "{section}");
        }
    }
}
