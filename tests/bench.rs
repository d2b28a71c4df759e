//! `cableway bench lab`: its sender and sink against sockets and counters of the kernel, and what it
//! leaves behind. Nothing here is timed.
#![allow(missing_docs, clippy::unwrap_used)]

mod turn;

use cableway::bench::arena::{Arena, FAR, NODE, Underlay};
use cableway::bench::contender::{self, Contender, Mode, Place, Router};
use cableway::bench::traffic::{Flow, Generator, Kind, Side, Traffic};
use etherparse::{SlicedPacket, TransportSlice};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use turn::Turn;

/// Few frames, slowly: what any router forwards, on a busy machine too.
const RATE: f64 = 2000.0;
const TIME: Duration = Duration::from_millis(100);

fn kind(side: Side, size: usize, generator: Generator) -> Kind {
    Kind { side, size, flows: 7, generator }
}

/// The kernel's router on the node.
fn kernel(arena: &Arena) -> Box<dyn Router> {
    let (core, mode) = (arena.cores.routers[0], Mode::Adaptive);
    let place = Place { site: &NODE, peer: &FAR, core, mode };
    contender::find("kernel-vxlan").unwrap().start(&place).unwrap()
}

/// Sends for a time. On a busy machine it may be over before anything was sent: then once more.
fn constant(traffic: &Traffic, time: Duration) -> Flow {
    let mut flows = (0..50).map(|_| traffic.constant(RATE, time).unwrap());
    flows.find(|flow| flow.sent > 0).expect("a core for the sender, some time")
}

/// The number of a device's counter, as `ip -s -j link` has it.
fn counter(netns: &str, device: &str, pointer: &str) -> u64 {
    let args = ["-n", netns, "-s", "-j", "link", "show", device];
    let output = Command::new("ip").args(args).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["stats64"].pointer(pointer).unwrap().as_u64().unwrap()
}

#[test]
fn sender_sink_and_the_kernel_count_the_same() {
    let Some(_turn) = Turn::take("bench") else { return };
    let arena = Arena::build(Underlay::Super).unwrap();
    let router = kernel(&arena);
    for generator in [Generator::Live, Generator::Packet] {
        for side in [Side::Encap, Side::Decap] {
            for size in [60, 1464] {
                let kind = kind(side, size, generator);
                let traffic = Traffic::open(&arena, router.attachment(), &kind).unwrap();
                // What the router received from the sender, in its namespace.
                let device = if side == Side::Encap { "pod0" } else { "eth0" };
                let read = || counter(NODE.netns, device, "/rx/packets");
                let before = read();
                let flow = constant(&traffic, TIME);
                let received = read() - before;
                assert!(flow.sent > 0 && flow.strange == 0, "{kind:?}: {flow:?}");
                assert_eq!((flow.sent, flow.arrived), (received, received), "{kind:?}: {flow:?}");
                let expected =
                    flow.sent as usize * (size + if side == Side::Encap { 50 } else { 0 });
                assert_eq!(traffic.sink().counts().unwrap().bytes, expected as u64, "{kind:?}");
            }
        }
    }
    drop(router);
    arena.remove().unwrap();
    nothing_is_left();
}

#[test]
fn a_socket_takes_what_is_sent_for_what_it_should_be() {
    let Some(_turn) = Turn::take("bench") else { return };
    let arena = Arena::build(Underlay::Wire).unwrap();
    let router = kernel(&arena);
    // The far node has no router but a socket on the tunnel's port; the sink is where nothing comes.
    run("ip", &["-n", FAR.pod_netns, "link", "add", "eth0", "type", "veth", "peer", "name", "x"]);
    let path = Path::new("/run/netns").join(FAR.netns);
    let bind = || UdpSocket::bind((FAR.address, 8472));
    let socket = cableway::io::netns::within(Some(&path), bind).unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    for generator in [Generator::Live, Generator::Packet] {
        let kind = kind(Side::Path, 100, generator);
        let traffic = Traffic::open(&arena, router.attachment(), &kind).unwrap();
        // No more than the socket has room for.
        let flow = constant(&traffic, TIME / 5);
        let mut buffer = [0; 2048];
        let receive = || socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
        let datagrams: Vec<_> = std::iter::from_fn(receive).collect();
        assert_eq!((datagrams.len() as u64, flow.arrived), (flow.sent, 0), "{kind:?}");
        let mut ports = BTreeSet::new();
        for (number, datagram) in datagrams.iter().enumerate() {
            let (vxlan, frame) = datagram.split_at(8);
            assert_eq!((vxlan, frame.len()), (&[8, 0, 0, 0, 0, 0, 1, 0][..], 100));
            let frame = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(TransportSlice::Udp(udp)) = frame.transport else { panic!("{frame:?}") };
            ports.insert(udp.source_port());
            assert_eq!((udp.destination_port(), udp.payload().len()), (9, 100 - 42));
            assert_eq!(udp.payload()[4..8], (number as u32).to_ne_bytes());
        }
        assert_eq!(ports.len(), 7);
    }
    drop(router);
    arena.remove().unwrap();
    nothing_is_left();
}

#[test]
fn a_delay_on_the_way_is_seen() {
    let Some(_turn) = Turn::take("bench") else { return };
    let arena = Arena::build(Underlay::Super).unwrap();
    let router = kernel(&arena);
    let traffic =
        Traffic::open(&arena, router.attachment(), &kind(Side::Encap, 60, Generator::Live))
            .unwrap();
    let measure = || {
        let before = traffic.sink().times().unwrap();
        let flow = constant(&traffic, TIME);
        (flow, traffic.sink().times().unwrap().since(&before))
    };
    let (flow, times) = measure();
    assert_eq!((times.len(), flow.loss()), (flow.arrived, 0.0));
    // A queue on the node's uplink that keeps each frame for 30 ms.
    let qdisc = ["-n", NODE.netns, "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "30ms"];
    if !Command::new("tc").args(qdisc).output().unwrap().status.success() {
        eprintln!("not tested: this kernel has no netem");
        return;
    }
    let (flow, times) = measure();
    assert_eq!((times.len(), flow.loss()), (flow.arrived, 0.0));
    // The histogram is good for 3 %.
    assert!(times.min() > 29_000_000, "{} ns", times.min());
}

#[track_caller]
fn nothing_is_left() {
    let left: Vec<_> = fs::read_dir("/run/netns").unwrap().flatten().collect();
    let left: Vec<_> = left.iter().map(|entry| entry.file_name()).collect();
    let ours = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("cableway-bench-");
    assert_eq!(left.iter().find(ours), None);
    assert!(!Path::new("/run/cableway-bench").exists());
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cableway"));
    command.args(["bench", "lab", "--quick"]).args(args).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn json(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"))
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

#[test]
fn every_contender_is_measured_on_every_side() {
    let Some(_turn) = Turn::take("bench") else { return };
    let path = json("bench-all");
    let here = contender::ALL.iter().filter(|contender| contender.lacks().is_none());
    let names: Vec<_> = here.clone().map(|contender| contender.name()).collect();
    let (all, file) = (names.join(","), path.to_str().unwrap());
    let sides = ["--side", "encap,decap,path", "--size", "60", "--flows", "64"];
    let args = [&["--contender", &all, "--json", file][..], &sides].concat();
    let output = command(&args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&report["complete"], &report["lab_failures"]),
        (&true.into(), &Value::Array(vec![]))
    );
    let cases = report["lab"].as_array().unwrap();
    let told = |name: &str| cases.iter().filter(|case| case["contender"] == name).count();
    // Without a tunnel there is but the whole path.
    let sides = |contender: &dyn Contender| if contender.tunnels() { 3 } else { 1 };
    assert!(here.clone().all(|one| told(one.name()) == sides(*one)), "{report:#}");
    for case in cases {
        // That the way is open was seen before; how many frames a busy machine sends is its own affair.
        assert!(case["overload"]["offered"].is_f64(), "{case:#}");
        assert!(case["highest"]["trials"].as_u64().unwrap() > 0, "{case:#}");
        // Frames that a router damaged would be noted.
        assert!(!case["notes"].to_string().contains("not as they should be"), "{case:#}");
    }
    nothing_is_left();
}

#[test]
fn an_interrupted_one_tells_what_it_has_and_cleans_up() {
    let Some(_turn) = Turn::take("bench") else { return };
    let path = json("bench-interrupted");
    let _ = fs::remove_file(&path);
    let args = ["--contender", "kernel-vxlan", "--json", path.to_str().unwrap()];
    let bench = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a router", || in_node("flannel.1"));
    let pid = rustix::process::Pid::from_child(&bench);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("interrupted"), "{}", text(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&report["schema"], &report["complete"]), (&1.into(), &false.into()));
    nothing_is_left();
}

#[test]
fn what_a_killed_one_left_is_removed_by_the_next() {
    let Some(_turn) = Turn::take("bench") else { return };
    let mut bench = command(&["--contender", "cableway-af_xdp"]);
    let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a daemon", || Path::new("/run/cableway-bench/node.sock").exists());
    bench.kill().unwrap();
    bench.wait().unwrap();
    assert!(Path::new("/run/netns/cableway-bench-node").exists());
    let args = ["--contender", "kernel-vxlan", "--side", "encap", "--size", "60", "--flows", "1"];
    let output = command(&args).output().unwrap();
    assert!(text(&output).contains("was killed"), "{}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
    nothing_is_left();
}

#[test]
fn one_at_a_time() {
    let Some(_turn) = Turn::take("bench") else { return };
    let arena = Arena::build(Underlay::Super).unwrap();
    let output = command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("another `cableway bench` is at work"), "{}", text(&output));
    arena.remove().unwrap();
}

/// Whether the node has a device of this name.
fn in_node(device: &str) -> bool {
    let args = ["-n", NODE.netns, "link", "show", device];
    Command::new("ip").args(args).output().unwrap().status.success()
}

#[test]
fn a_report_that_cannot_be_written_is_told_at_once() {
    let output = command(&["--json", "/nowhere/report.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("/nowhere/report.json"), "{}", text(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_is_told() {
    for (args, words) in [
        (["--contender", "vpp"], "kernel-vxlan"),
        (["--side", "up"], "encap"),
        (["--size", "59"], "60 to 1464"),
        (["--flows", "0"], "1..=60000"),
        (["--underlay", "wires"], "super"),
    ] {
        let output = command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(words), "{args:?}: {}", text(&output));
        assert!(output.stdout.is_empty());
    }
}
