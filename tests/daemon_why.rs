//! Why packets were dropped, asked of a node that drops some. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::Drops;
use cableway::control::samples::{DropSample, DropSamples};
use cableway::control::trace::{Outcome, Report};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::two::{Two, finish};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The latest sample of a reason, once there is one.
fn latest(daemon: &Daemon, reason: &str) -> DropSample {
    let path = format!("/v1/drops/samples?reason={reason}");
    wait_for("a sample", || !daemon.get::<DropSamples>(&path).samples.is_empty());
    daemon.get::<DropSamples>(&path).samples.pop().unwrap()
}

#[test]
fn dropped_packets_are_shown() {
    let (two, pod) = (Two::new(), Space::new("b5"));
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    wait_for("the nodes to know each other", || two.a1.pings("10.9.2.2"));
    a.must("add route 10.9.2.2 --unreachable");
    assert!(!two.a1.pings("10.9.2.2"));
    let sample = latest(&a, "ttl.unreachable");
    assert_eq!((sample.port.as_str(), sample.peer.as_deref()), ("a1", None));
    assert!(sample.packet.starts_with("icmp 10.9.1.2 > 10.9.2.2 echo-request"), "{sample:?}");
    // Behind the peer, but not known to be.
    let netns = &pod.name;
    b.must(&format!("add port b5 --kind tun --netns {netns} --device eth0 --address 10.9.5.5/24"));
    pod.ip("route replace default via 10.9.2.1 dev eth0 onlink");
    assert!(!pod.pings("10.9.1.2"));
    let sample = latest(&a, "route.peer_source");
    assert_eq!((sample.port.as_str(), sample.peer.as_deref()), ("eth0", Some("b")));
    assert!(sample.packet.starts_with("icmp 10.9.5.5 > 10.9.1.2 echo-request"), "{sample:?}");
    let shown = a.must("show drops --samples -x");
    assert!(shown.contains(&sample.packet) && shown.contains("\n    45 00 00 54 "), "{shown}");
    a.must_not("show drops --samples no.reason");
    finish([&mut a, &mut b]);
}

#[test]
fn drops_are_watched_until_nobody_reads() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    two.a1.pings("10.9.9.9");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_cableway"));
    watch.args(["show", "drops", "--watch", "--interval", "0.1", "--socket"]).arg(&a.socket);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut tables = lines.filter(|line| line.trim_start().starts_with("ttl.no_route "));
    let row = || tables.next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = std::iter::repeat_with(row).take(3).collect();
    assert_eq!(rows[0][2..4], ["-", "-"]);
    assert_eq!(rows[2][2..4], ["0", "0"], "nothing was dropped meanwhile: {rows:?}");
    drop(tables);
    assert!(watch.wait().unwrap().success());
    finish([&mut a, &mut b]);
}

/// A trace; the name of the reason for which its packet is dropped.
fn traced(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut trace = Command::new(env!("CARGO_BIN_EXE_cableway"));
    trace.args(["trace", "--json", "--socket"]).arg(&daemon.socket).args(arguments);
    let output = trace.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    match &report.frames[0].outcome {
        Outcome::Dropped { reason, .. } => reason.clone(),
        other => format!("{other:?}"),
    }
}

#[test]
fn traces_name_the_reason_that_was_counted() {
    let (two, pod) = (Two::new(), Space::new("b5"));
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    wait_for("the nodes to know each other", || two.a1.pings("10.9.2.2"));
    // From a pod here: as captured in the pod, and as the sample says it.
    let file = a.file("pod.pcap").display().to_string();
    let mut tcpdump = Command::new("ip");
    tcpdump.args(["netns", "exec", &two.a1.name, "tcpdump", "-Z", "root", "-U", "-c", "1"]);
    tcpdump.args(["-i", "eth0", "-w", &file, "dst", "10.7.7.7"]);
    let mut tcpdump = tcpdump.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(tcpdump.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("listening on")));
    assert!(!two.a1.pings("10.7.7.7"));
    tcpdump.wait().unwrap();
    let sample = latest(&a, "ttl.no_route");
    assert_eq!(traced(&a, &["--port", "a1", "--pcap", &file]), sample.reason);
    assert_eq!(traced(&a, &["--port", "a1", "--packet", &sample.packet]), sample.reason);
    // From a pod behind the peer: as the sample has it, which is without the tunnel's headers by then.
    let netns = &pod.name;
    b.must(&format!("add port b5 --kind tun --netns {netns} --device eth0 --address 10.9.5.5/24"));
    pod.ip("route replace default via 10.9.2.1 dev eth0 onlink");
    assert!(!pod.pings("10.9.1.2"));
    let sample = latest(&a, "route.peer_source");
    assert_eq!(traced(&a, &["--peer", "b", "--packet", &sample.packet]), sample.reason);
    assert_eq!(traced(&a, &["--peer", "b", "--hex", &sample.bytes]), sample.reason);
    // What passes, and that none of it was counted.
    let counted = || a.get::<Drops>("/v1/show/drops");
    let before = counted().drops;
    let packet = "tcp 10.9.1.2:40000 > 10.9.2.2:80 syn";
    assert!(traced(&a, &["--port", "a1", "--packet", packet]).contains("port: \"eth0\""));
    assert_eq!(
        traced(&a, &["--port", "a1", "--packet", &packet.replace(".1.2", ".1.9")]),
        "route.source"
    );
    assert_eq!(counted().drops, before);
    let error = a.must_not("trace --port a1 --packet tcp");
    assert!(error.contains("\ntcp\n   ^ expected"), "{error}");
    finish([&mut a, &mut b]);
}
