//! Labs as a user has them: by the program, in namespaces.
//!
//! They need root. Without it they say so and pass, unless `CI` is set. A machine has one lab at a
//! time, so that each test waits for its turn.
#![allow(clippy::unwrap_used)]

mod turn;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use turn::Turn;

/// The checks' names, which are promised.
const CHECKS: [&str; 13] = [
    "ping4",
    "ping6",
    "ping4-mtu-df",
    "tcp4-hash",
    "tcp6-hash",
    "udp-echo",
    "same-node",
    "node-to-remote-pod",
    "pod-to-gateway",
    "ttl-exceeded",
    "on-the-wire",
    "conservation",
    "clean",
];

/// A lab by kernel routers alone: for what is about labs and not about the daemon.
const KERNEL: &str = "configs/lab/kernel-vxlan.toml";

/// This test's turn to have the machine's lab; removes what the test leaves of it.
struct Lab(#[allow(dead_code, reason = "it is held")] Turn);

impl Lab {
    /// None where labs cannot be.
    fn take() -> Option<Lab> {
        let turn = Turn::take("lab")?;
        cableway(&["lab", "down"]);
        Some(Lab(turn))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        cableway(&["lab", "down"]);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

fn cableway(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// It succeeds; what it says.
#[track_caller]
fn done(args: &[&str]) -> String {
    let output = cableway(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// It fails with this code and these words, all on standard error.
#[track_caller]
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let output = cableway(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
    assert!(words.iter().all(|w| stderr.contains(w)), "{args:?}: {stderr}, without {words:?}");
    assert!(output.stdout.is_empty(), "{}", text(&output));
}

/// Waits for something that must come about soon.
#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        sleep(Duration::from_millis(5));
    }
}

fn namespace_exists(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

#[track_caller]
fn nothing_is_left() {
    for name in ["a", "b", "a1", "a2", "b1", "b2", "wire"] {
        let name = format!("cableway-{name}");
        assert!(!namespace_exists(&name), "{name} is left");
        assert!(!Path::new("/etc/netns").join(&name).exists(), "hosts of {name} are left");
    }
    assert!(!Path::new("/run/cableway-lab").exists());
}

/// A demo proves all there is to prove but `inapplicable`, tells what it measured and cleans up.
#[track_caller]
fn proven(name: &str, args: &[&str], inapplicable: &[&str]) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let table = done(&[&["lab", "demo", "--json", json.to_str().unwrap()], args].concat());
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let names = |wanted: &dyn Fn(&Value) -> bool| -> Vec<String> {
        let checks = report["checks"].as_array().unwrap().iter().filter(|check| wanted(check));
        checks.map(|check| check["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(report["ok"], true, "{table}");
    assert_eq!(names(&|_| true), CHECKS, "{table}");
    assert_eq!(names(&|check| check["ok"] == true), CHECKS, "{table}");
    assert_eq!(names(&|check| check["applicable"] == false), inapplicable, "{table}");
    let measured = report["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 2, "{table}");
    for family in measured {
        assert!(family["tcp_bits_per_second"].as_f64().unwrap() > 0.0, "{table}");
        assert!(family["round_trip_p99_ns"].as_u64().unwrap() > 0, "{table}");
    }
    nothing_is_left();
}

macro_rules! demos {
    ($($test:ident: $args:expr, without $inapplicable:expr;)+) => {$(
        #[test]
        fn $test() {
            let Some(_turn) = Lab::take() else { return };
            proven(stringify!($test), &$args, &$inapplicable);
        }
    )+};
}

demos! {
    demo_by_tun: ["--io", "tun"], without [];
    demo_by_tap: ["--io", "tap"], without [];
    demo_by_af_xdp: ["--io", "af_xdp"], without [];
    demo_over_ipv6: ["--underlay", "v6"], without [];
    demo_of_ipip: ["--encap", "ipip", "--io", "af_xdp"], without [];
    demo_of_ipip_over_ipv6: ["--encap", "ipip", "--underlay", "v6"], without [];
    demo_of_udp: ["--encap", "udp"], without [];
    demo_of_geneve_over_ipv6: ["--encap", "geneve", "--underlay", "v6", "--io", "af_xdp"], without [];
    demo_without_a_tunnel: ["--encap", "direct", "--io", "af_xdp"], without [];
    demo_without_a_tunnel_over_ipv6: ["--encap", "direct", "--underlay", "v6"], without [];
    demo_through_a_router: ["configs/lab/routed.toml"], without [];
    demo_by_one_veth: ["configs/lab/veth.toml"], without ["on-the-wire"];
    demo_with_flannels_kernel: ["configs/lab/kernel-peer.toml"], without [];
    demo_with_calicos_kernel: ["configs/lab/kernel-peer-calico.toml"], without [];
    demo_with_a_kernel_over_ipv6: ["configs/lab/kernel-peer.toml", "--underlay", "v6"], without [];
    demo_of_sixteen_nodes: ["configs/lab/sixteen.toml"], without [];
    demo_by_kernels_alone: [KERNEL], without ["conservation"];
}

#[test]
fn a_lab_that_is_up_can_be_used_and_removed() {
    let Some(_turn) = Lab::take() else { return };
    let guide = done(&["lab", "up", KERNEL]);
    assert!(guide.contains("lab exec a1 -- ping b1"), "{guide}");
    done(&["lab", "exec", "a1", "--", "ping", "-c1", "-W1", "b1"]);
    done(&["lab", "exec", "b", "--", "ping", "-c1", "-W1", "a"]);
    done(&["lab", "exec", "wire", "--", "ip", "link", "show", "wire-a"]);
    refused(&["lab", "exec", "a1", "--", "false"], 1, &[]);
    refused(&["lab", "exec", "z9", "--", "true"], 1, &["z9", "a1, a2"]);
    refused(&["lab", "up", KERNEL], 1, &["is up", "cableway lab down"]);
    refused(&["lab", "demo", KERNEL], 1, &["is up", "cableway lab down"]);
    // What a user runs in there does not keep it.
    let mut ping = command(&["lab", "exec", "a1", "--", "ping", "b1"]);
    let mut ping = ping.stdout(Stdio::null()).spawn().unwrap();
    let name = format!("/proc/{}/comm", ping.id());
    wait_for("a ping in the pod", || fs::read_to_string(&name).unwrap() == "ping\n");
    assert!(done(&["lab", "down"]).contains("removed"));
    // SIGTERM ends it; it is our child, so that only we can take leave of it.
    assert!(!ping.wait().unwrap().success());
    nothing_is_left();
    assert!(done(&["lab", "down"]).contains("no lab"));
    refused(&["lab", "exec", "a1", "--", "true"], 1, &["no lab", "cableway lab up"]);
}

#[test]
fn the_nodes_own_traffic_is_the_kernels() {
    let Some(_turn) = Lab::take() else { return };
    done(&["lab", "up"]);
    done(&["lab", "exec", "a", "--", "ping", "-c3", "-i0.1", "-W1", "192.168.77.2"]);
    done(&["lab", "exec", "b", "--", "ping", "-c3", "-i0.1", "-W1", "fd00:77::1"]);
    let mut server = command(&["lab", "exec", "b", "--", "iperf3", "-s", "-1", "-p", "8473"]);
    let mut server = server.stdout(Stdio::null()).spawn().unwrap();
    let listening = ["lab", "exec", "b", "--", "ss", "-Hltn", "sport = 8473"];
    wait_for("a server", || !done(&listening).is_empty());
    let client = ["lab", "exec", "a", "--", "iperf3", "-c", "192.168.77.2", "-p", "8473"];
    done(&[&client[..], &["-n", "10M"]].concat());
    assert!(server.wait().unwrap().success());
    done(&["lab", "down"]);
    nothing_is_left();
}

#[test]
fn what_a_crash_left_is_removed_by_the_next() {
    let Some(_turn) = Lab::take() else { return };
    let mut demo = command(&["lab", "demo"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("a capture", || Path::new("/run/cableway-lab/outside.pcap").exists());
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(namespace_exists("cableway-a"));
    let said = done(&["lab", "up", KERNEL]);
    assert!(said.contains("a crash left"), "{said}");
    done(&["lab", "down"]);
    nothing_is_left();
}

/// Real clients are let through or not as the lab's policies say, whatever pods are attached by, and the
/// daemons' counters tell the same.
#[test]
fn demo_with_policies() {
    let Some(_turn) = Lab::take() else { return };
    for io in ["tun", "af_xdp"] {
        let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("policies-{io}.json"));
        let args = ["lab", "demo", "configs/lab/policy.toml", "--io", io, "--json"];
        let table = done(&[&args[..], &[json.to_str().unwrap()]].concat());
        let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let names = checks.iter().map(|check| check["name"].as_str().unwrap());
        let policies = names.clone().filter(|name| name.starts_with("policy-")).count();
        assert!(policies >= 17, "{table}");
        assert_eq!(names.skip(policies).collect::<Vec<_>>(), ["conservation", "clean"], "{table}");
        assert!(checks.iter().all(|c| c["ok"] == true && c["applicable"] == true), "{table}");
        nothing_is_left();
    }
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let Some(_turn) = Lab::take() else { return };
    for sign in ["/run/netns/cableway-b1", "/run/cableway-lab/outside.pcap"] {
        let demo = command(&["lab", "demo", KERNEL]).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(sign, || Path::new(sign).exists());
        let pid = rustix::process::Pid::from_child(&demo);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("interrupted"), "{}", text(&output));
        nothing_is_left();
    }
}

#[test]
fn two_at_once_do_not_mix() {
    let Some(_turn) = Lab::take() else { return };
    let mut demo = command(&["lab", "demo", KERNEL]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("a pod", || namespace_exists("cableway-b2"));
    refused(&["lab", "up", KERNEL], 1, &["another `cableway lab` is at work"]);
    refused(&["lab", "down"], 1, &["another `cableway lab` is at work"]);
    assert!(demo.wait().unwrap().success());
}

#[test]
fn a_stranger_with_our_name_is_left_alone() {
    let Some(_turn) = Lab::take() else { return };
    let ip = |args: &[&str]| assert!(Command::new("ip").args(args).status().unwrap().success());
    ip(&["netns", "add", "cableway-b1"]);
    let words = ["cableway-b1", "not of a lab", "ip netns delete cableway-b1"];
    refused(&["lab", "up", KERNEL], 1, &words);
    assert!(namespace_exists("cableway-b1"));
    ip(&["netns", "delete", "cableway-b1"]);
    nothing_is_left();
}

#[test]
fn wrong_usage_is_told() {
    refused(&["lab"], 2, &["Usage"]);
    refused(&["lab", "demo", "--io", "tin"], 2, &["tun", "tap", "af_xdp"]);
    refused(&["lab", "exec", "a1"], 2, &["COMMAND"]);
    refused(&["lab", "up", "none.toml"], 1, &["none.toml", "No such file"]);
    refused(&["lab", "up", "Cargo.toml"], 1, &["Cargo.toml:", "unknown field"]);
    refused(&["lab", "demo", "--encap", "gre"], 1, &["two-nodes.toml:", "[[tunnel.gre]]", "vxlan"]);
}
