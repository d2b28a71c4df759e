//! The unit in `systemd/` is one that systemd finds nothing wrong with.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn analyze(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).output().expect("setup.sh installs systemd-analyze")
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

#[test]
fn the_unit_is_sound_and_gives_little_away() {
    let unit = include_str!("../systemd/cableway.service");
    // It must name a program that is there.
    let unit = unit.replace("/usr/bin/cableway", env!("CARGO_BIN_EXE_cableway"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cableway.service");
    std::fs::write(&path, unit).unwrap();
    let path = path.to_str().unwrap();
    let verified = analyze(&["verify", path]);
    assert!(verified.status.success() && text(&verified).is_empty(), "{}", text(&verified));
    // On systemd's scale 10 is a service without any precaution, 4 and less are "OK".
    let judged = analyze(&["security", "--offline=true", "--threshold=40", path]);
    assert!(judged.status.success(), "{}", text(&judged));
}
