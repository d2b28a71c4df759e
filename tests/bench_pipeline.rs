//! `cableway bench pipeline` as a user runs it.
#![allow(clippy::unwrap_used)]

use cableway::bench::report::{Report, SCHEMA};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
    command.args(["bench", "pipeline"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = bench(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A file that is gone at the end of the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        let name = format!("cableway-bench-{}-{name}.json", std::process::id());
        File(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.0).unwrap()).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Keys of an object, in the order of the alphabet.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_report_is_as_documented() {
    let file = File::new("report");
    let (code, table, errors) = run(&["--quick", "--json", file.path()]);
    assert_eq!(code, Some(0), "{errors}");
    if cfg!(debug_assertions) {
        assert!(errors.contains("a debug build") && table.contains("debug build"));
    }
    let json = file.json();
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(json["complete"], true);
    let figures = json["pipeline"].as_array().unwrap();
    let names: Vec<_> = figures.iter().map(|figure| figure["id"].as_str().unwrap()).collect();
    let (_, listed, _) = run(&["--quick", "--list"]);
    assert_eq!(names, listed.lines().collect::<Vec<_>>());
    for name in ["encap/vxlan/1-route/1-flow/64B", "route/100-routes/100-flows-zipf/64B"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
        assert!(table.contains(name), "{table}");
    }
    for figure in figures {
        check(figure);
    }
    let report: Report = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(report).unwrap(), json, "the form is read as it is written");
}

/// What `--help` says of a figure, and what its numbers must say together.
fn check(figure: &Value) {
    const KEYS: [&str; 16] = [
        "action",
        "allocations_per_packet",
        "bytes_per_frame",
        "cores",
        "flows",
        "gbit_per_second",
        "id",
        "least_ns_per_packet",
        "mix",
        "mpps",
        "ns_per_packet",
        "packets_per_frame",
        "routes",
        "size",
        "stages",
        "tunnel",
    ];
    let id = &figure["id"];
    let mut found = keys(figure);
    found.sort_unstable();
    assert_eq!(found, KEYS, "{id}");
    assert_eq!(figure["allocations_per_packet"], 0.0, "{id}");
    let spread = &figure["ns_per_packet"];
    let [low, median, high] = ["low", "median", "high"].map(|key| spread[key].as_f64().unwrap());
    assert!(0.0 < low && low <= median && median <= high, "{id}: {spread}");
    assert!(figure["least_ns_per_packet"].as_f64().unwrap() <= low, "{id}");
    let cores = figure["cores"].as_array().unwrap();
    assert_eq!(cores.len(), 1, "{id}");
    assert!(cores[0]["rounds"].as_u64().unwrap() >= 10, "{id}");
    let stages = figure["stages"].as_array().unwrap();
    let sum = |key: &str| stages.iter().map(|stage| stage[key].as_f64().unwrap()).sum::<f64>();
    assert!((sum("share") - 1.0).abs() < 1e-9, "{id}: {stages:?}");
    assert!((sum("ns_per_packet") - median).abs() < 1e-6 * median, "{id}: {stages:?}");
    let names: Vec<_> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    let is_tunnel = figure["tunnel"].is_string();
    assert!(names.contains(&"parse") && names.contains(&"settle"), "{id}: {names:?}");
    assert_eq!(is_tunnel, figure["action"] != "route", "{id}");
}

#[test]
fn all_cores_of_two_are_told() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("not run: this machine has one core");
        return;
    }
    let file = File::new("cores");
    let only = ["--quick", "--only", "encap/vxlan/1-route/1-flow/64B"];
    let (code, table, errors) =
        run(&[&only[..], &["--cores", "2", "--json", file.path()]].concat());
    assert_eq!(code, Some(0), "{errors}");
    let json = file.json();
    let figure = &json["pipeline"][0];
    let cores = figure["cores"].as_array().unwrap();
    assert_eq!(cores.len(), 2);
    assert_ne!(cores[0]["core"], cores[1]["core"]);
    let sum: f64 = cores.iter().map(|core| core["mpps"].as_f64().unwrap()).sum();
    assert!((figure["mpps"].as_f64().unwrap() - sum).abs() < 1e-9 * sum);
    assert!(table.contains("CORE"), "{table}");
}

#[test]
fn wrong_usage_is_refused() {
    for (arguments, expected) in [
        (&["--cores", "0"][..], "0 is not in 1..=1024"),
        (&["--all", "--quick"], "cannot be used with"),
        (&["--only", "bogus"], "no case's name contains `bogus`; --list --all lists all cases"),
        (&["--only", "/1k-flows-uniform/"], "; with --all there are "),
        (&["--sooner"], "unexpected argument '--sooner'"),
    ] {
        let (code, _, errors) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
    let (code, _, errors) = run(&["--quick", "--cores", "1024"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("1024 cores are asked for, and this process may use "), "{errors}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let (code, table, errors) =
        run(&["--quick", "--only", "route/1-route/1-flow/64B", "--json", "/nonexistent/x.json"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot write /nonexistent/x.json"), "{errors}");
    assert!(table.contains("route/1-route/1-flow/64B"), "what was measured is told: {table}");
}

#[test]
fn an_interrupt_leaves_what_was_measured() {
    let file = File::new("interrupted");
    let arguments = ["--time", "3000", "--only", "1-route/", "--json", file.path()];
    let mut child = bench(&arguments).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = errors.find(|line| line.trim_start().starts_with("1 of "));
    assert!(first.unwrap().contains("encap/vxlan/1-route/1-flow/64B"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let errors: Vec<_> = errors.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{errors:?}");
    assert!(errors.last().unwrap().contains("interrupted after "), "{errors:?}");
    let json = file.json();
    assert_eq!(json["complete"], false);
    let figures = json["pipeline"].as_array().unwrap();
    let (_, listed, _) = run(&["--only", "1-route/", "--list"]);
    assert!((1..listed.lines().count()).contains(&figures.len()), "{} figures", figures.len());
    figures.iter().for_each(check);
}
