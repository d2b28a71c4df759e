//! Scenarios: each folder of `tests/scenarios/` is one, and `tests/scenarios/README.md` says how to write
//! one. Tables are built from a config by the very function that the daemon uses, frames go through
//! all stages, and what leaves is compared with `out.txt`.
//!
//! `UPDATE_EXPECT=1 cargo test --test scenarios` writes the `out.txt` files anew: read the diff.
#![allow(clippy::unwrap_used)]

#[path = "scenarios/describe.rs"]
mod describe;
#[path = "scenarios/input.rs"]
mod input;
#[path = "scenarios/node.rs"]
mod node;
#[path = "scenarios/traced.rs"]
mod traced;
#[path = "scenarios/tshark.rs"]
mod tshark;
#[path = "scenarios/ways.rs"]
mod ways;

use input::{Step, parse};
use node::{Node, load};
use pipeline::drops::{self, Reason};
use pipeline::frame::{Memory, Pool};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use traced::Traced;

/// Reasons that no scenario can give, each with the place of the test that does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ttl.fragments", "a packet of a thousand fragments: pipeline/src/stages/ttl/size/tests.rs"),
    ("tunnel.no_peer", "tables that do not fit together: pipeline/tests/drops.rs"),
    ("tunnel.headroom", "frames always have enough: pipeline/tests/drops.rs"),
    ("neighbour.no_neighbour", "tables that do not fit together: pipeline/tests/drops.rs"),
    ("neighbour.headroom", "frames always have enough: pipeline/tests/drops.rs"),
    ("finish.no_port", "tables that do not fit together: pipeline/tests/drops.rs"),
    ("finish.too_big", "tables that do not fit together: pipeline/src/stages/finish/tests.rs"),
    ("finish.no_memory", "memory is never exhausted here: pipeline/src/stages/finish/tests.rs"),
    ("port.no_memory", "a port's own: src/io/mem.rs"),
    ("port.truncated", "a port's own: tests/io_pcap.rs"),
    ("port.whole", "a port's own: tests/io_reassembled.rs"),
    ("port.offload", "a port's own: src/io/tun/vnet.rs"),
    ("port.full", "a thousand frames at once: pipeline/tests/drops.rs"),
    ("port.handover", "one worker here: src/worker/tests.rs"),
    ("port.refused", "a port's own: tests/io_tun.rs, tests/io_af_xdp.rs"),
    ("port.gone", "ports do not go away here: pipeline/tests/drops.rs"),
    ("settle.undecided", "no stage leaves a frame undecided: fuzz/, pipeline/tests/noise.rs"),
    ("settle.no_port", "tables that do not fit together: pipeline/tests/drops.rs"),
    ("settle.loop", "a station that comes and goes five times: pipeline/tests/drops.rs"),
    ("settle.flood", "more than the stages hold: pipeline/tests/drops.rs"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.join("in.txt").exists()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// Plays one scenario: what `out.txt` should say, and the reasons it had to drop frames. Of what comes in
/// alone there is a trace before, which must tell what then happens, and which `each` gets.
fn play(folder: &Path, pool: &mut Pool, mut each: impl FnMut(&Traced)) -> (String, Vec<Reason>) {
    let config = match folder.join("node.toml") {
        own if own.exists() => own,
        _ => root().join("node.toml"),
    };
    let steps = parse(&fs::read_to_string(folder.join("in.txt")).unwrap())
        .unwrap_or_else(|error| panic!("{}/in.txt:{error}", folder.display()));
    let mut node = Node::new(load(&config), folder, pool);
    let mut out = String::new();
    for batch in steps.chunk_by(|_, next| next.together) {
        for step in batch {
            out += &format!("{}\n", step.line);
        }
        let traced = Traced::of(batch, &node);
        let left = node.step(batch);
        if let Some(traced) = traced {
            each(&traced);
            traced.check(&format!("{}: {}", folder.display(), batch[0].line), &node, &left);
        }
        for (port, frame) in left {
            out += &describe::leaving(&port, &frame);
        }
    }
    out += &format!("\ncounters\n{}", node.counted());
    node.check_laws();
    node.check_samples();
    let reasons = node.reasons();
    node.close();
    (out, reasons)
}

fn pool() -> Pool {
    Pool::new(Memory::new(4096, false).unwrap())
}

#[test]
fn frames_leave_as_expected() {
    let (mut pool, mut failed) = (pool(), Vec::new());
    for folder in scenarios() {
        let (found, _) = play(&folder, &mut pool, |_| {});
        let path = folder.join("out.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(path, found).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            failed.push(format!("{}\n{}", path.display(), diff(&expected, &found)));
        }
    }
    assert!(
        failed.is_empty(),
        "not as expected (-) but (+):\n{}\nIf it is right so: UPDATE_EXPECT=1",
        failed.join("\n")
    );
}

/// The lines that differ, between those that begin and end both texts.
fn diff(expected: &str, found: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let lines = |sign, lines: &[&str]| -> String {
        lines[..lines.len() - end].iter().map(|line| format!("{sign} {line}\n")).collect()
    };
    format!("  line {}:\n{}{}", same + 1, lines("-", a), lines("+", b))
}

#[test]
fn every_drop_reason_is_tested() {
    let mut pool = pool();
    let produced: BTreeSet<String> = scenarios()
        .iter()
        .flat_map(|folder| play(folder, &mut pool, |_| {}).1)
        .map(Reason::name)
        .collect();
    let elsewhere: BTreeSet<String> = ELSEWHERE.iter().map(|(name, _)| name.to_string()).collect();
    let declared: BTreeSet<String> = drops::all().map(Reason::name).collect();
    let untested: Vec<_> = declared.iter().filter(|r| !produced.contains(*r)).collect();
    let untested: Vec<_> = untested.iter().filter(|r| !elsewhere.contains(**r)).collect();
    assert!(
        untested.is_empty(),
        "no scenario drops a frame for {untested:?}: add one, or tell in ELSEWHERE what tests it"
    );
    let stale: Vec<_> =
        elsewhere.iter().filter(|r| produced.contains(*r) || !declared.contains(*r)).collect();
    assert!(stale.is_empty(), "{stale:?} need not be in ELSEWHERE: not declared, or in a scenario");
}

#[test]
fn differences_are_shown() {
    assert_eq!(diff("a\nb\nc\n", "a\nx\ny\nc\n"), "  line 2:\n- b\n+ x\n+ y\n");
    assert_eq!(diff("", "a\n"), "  line 1:\n+ a\n");
}

#[test]
fn mistakes_in_scenarios_are_found() {
    let mistakes = [
        ("# a\na1 < Ether()\n", "2: expected the frame's bytes in hex below"),
        ("wait a while\n", "1: \"wait a while\" is no step"),
        ("a1 < Ether()\n    0g\n", "2: \"0g\" is not hex"),
        ("    00\n", "1: bytes without a frame"),
        ("close\n+ a1 < Ether()\n    00\n", "2: there is no frame before"),
    ];
    for (text, expected) in mistakes {
        let error = parse(text).map(|steps: Vec<Step>| steps.len()).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
