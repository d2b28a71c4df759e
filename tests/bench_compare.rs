//! `cableway bench compare`, as one who types it: what it tells, and what it leaves behind.
//!
//! Nothing is judged by how fast it is. Needs root.
#![allow(clippy::unwrap_used)]

mod turn;

use cableway::bench::report::{Report, SCHEMA};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use turn::Turn;

/// Where a run writes.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let directory = std::env::temp_dir().join(format!("compare-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Files(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn report(&self) -> Report {
        serde_json::from_slice(&fs::read(self.path("json")).unwrap()).unwrap()
    }

    fn compare(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
        command.args(["bench", "compare"]).args(words.split_whitespace());
        command.arg("--json").arg(self.path("json")).arg("--html").arg(self.path("html"));
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn assert_nothing_is_left() {
    let namespaces = Command::new("ip").arg("netns").output().unwrap();
    let namespaces = String::from_utf8(namespaces.stdout).unwrap();
    assert!(!namespaces.contains("cableway-bench"), "{namespaces}");
    assert!(!PathBuf::from("/run/cableway-bench").exists());
}

#[test]
fn everybody_has_a_turn_and_is_told_of() {
    let Some(_turn) = Turn::take("bench") else { return };
    let files = Files::new("turns");
    let words = "--contender kernel-vxlan,kernel-vxlan-rps,kernel-direct,cableway-tun,cableway-af_xdp \
                 --only udp60_encap_pps,tcp1_wire,rr_p50_poll --rounds 1 --seconds 1";
    let output = files.compare(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_nothing_is_left();

    let report = files.report();
    assert!(report.complete && report.schema == SCHEMA);
    let out: Vec<_> = report.contenders.iter().filter_map(|one| one.out.as_ref()).collect();
    assert!(report.contenders.len() == 5 && out.is_empty(), "{out:?}");
    let values = |id: &str, contender: &str| {
        let of_it = |m: &&_| -> bool {
            let m: &cableway::bench::report::Measured = m;
            m.id == id && m.contender == contender
        };
        report.measured.iter().find(of_it).unwrap().values.clone()
    };
    assert_eq!(values("udp60_encap_pps", "kernel-direct"), [None], "it has no tunnel");
    for (id, contender) in [
        ("udp60_encap_pps", "cableway-tun"),
        ("udp60_encap_pps", "cableway-af_xdp"),
        ("tcp1_wire", "kernel-direct"),
        ("tcp1_wire", "cableway-af_xdp"),
        ("rr_p50_poll", "kernel-vxlan-rps"),
        ("rr_p99_poll", "cableway-tun"),
    ] {
        assert!(values(id, contender)[0].unwrap() > 0.0, "{id} of {contender}: {said}");
    }
    let kernel = |row: &&cableway::bench::report::Row| row.baseline.starts_with("kernel-vxlan");
    let rows = report.results.iter().filter(kernel).filter(|row| row.contender == "cableway-tun");
    assert_eq!(rows.count(), 4, "{:?}", report.results);
    assert_eq!(report.curves.len(), 5);
    assert!(fs::read_to_string(files.path("html")).unwrap().contains("id=\"rr_p50_poll\""));
    assert!(String::from_utf8_lossy(&output.stdout).contains("cableway-af_xdp"));
}

#[test]
fn whoever_has_had_enough_has_what_there_was() {
    let Some(_turn) = Turn::take("bench") else { return };
    let files = Files::new("enough");
    let log = files.path("log");
    let words = "--contender kernel-vxlan,kernel-direct --only rr_p50_adaptive --rounds 500";
    let mut command = files.compare(words);
    let mut child =
        command.stderr(File::create(&log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !fs::read_to_string(&log).unwrap().contains("round 2 of 500") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_nothing_is_left();
    let report = files.report();
    assert!(!report.complete);
    assert!(report.results[0].pairs >= 2, "{:?}", report.results);
    assert!(fs::read_to_string(files.path("html")).unwrap().contains("interrupted"));
    assert!(fs::read_to_string(&log).unwrap().contains("interrupted"));
}

#[test]
fn without_iperf3_the_rest_is_measured() {
    let Some(_turn) = Turn::take("bench") else { return };
    let files = Files::new("iperf3");
    let programs = files.path("programs");
    fs::create_dir(&programs).unwrap();
    for program in ["ip", "bridge", "ethtool", "sysctl"] {
        let places =
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|p| PathBuf::from(p).join(program));
        let place = places.into_iter().find(|place| place.exists()).expect(program);
        std::os::unix::fs::symlink(place, programs.join(program)).unwrap();
    }
    let words = "--contender kernel-vxlan --only tcp1_wire,udp60_encap_pps --rounds 1 --seconds 1";
    let output = files.compare(words).env("PATH", &programs).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tcp1_wire: left out: found no iperf3"), "{said}");
    let report = files.report();
    assert!(!report.complete);
    let ids: Vec<_> = report.measured.iter().map(|measured| measured.id.as_str()).collect();
    assert_eq!(ids, ["udp60_encap_pps"]);
}

#[test]
fn wrong_words_are_named() {
    let files = Files::new("words");
    for (words, hint) in [
        ("--contender kernel", "kernel-vxlan-rps"),
        ("--only tcp1", "tcp1_wire"),
        ("--rounds 0", "0 is not in 1.."),
    ] {
        let output = files.compare(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(hint), "{words}: {said}");
    }
}
