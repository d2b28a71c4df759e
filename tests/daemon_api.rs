//! A node that is told what to be through its socket, by the command line and by clients that
//! behave, and by some that do not. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::config::Config;
use cableway::control::management::client::{self, Content};
use cableway::control::management::{Done, RouteList};
use cableway::control::report::Drops;
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::two::{Two, finish};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn pods_come_and_go_by_command_and_others_notice_nothing() {
    let two = Two::new();
    let pods = ["tun", "tap", "af_xdp"].map(|kind| (kind, Space::new(kind)));
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let before = a.must("dump");
    let stream = two.stream();
    let mut held = Vec::new();
    for round in 0..3 {
        for (n, (kind, pod)) in (10..).zip(&pods) {
            let netns = &pod.name;
            let words = format!(
                "add port {kind} --kind {kind} --netns {netns} --device eth0 --address 10.9.1.{n}/24"
            );
            a.must(&words);
            assert!(a.must(&words).contains("it is so already"));
            wait_for("the new pod to reach another node's", || pod.pings("10.9.2.2"));
        }
        assert_eq!(a.ports().len(), 5, "round {round}");
        let dumped = a.must("dump");
        Config::parse(&dumped, "dump").unwrap();
        for (kind, pod) in &pods {
            a.must(&format!("del port {kind}"));
            assert!(!pod.has_device(), "the device of {kind} is gone when `del` is done");
        }
        assert_eq!(a.must("dump"), before);
        // All of it at once, and back.
        std::fs::write(a.file("dumped.toml"), &dumped).unwrap();
        std::fs::write(a.file("before.toml"), &before).unwrap();
        a.must(&format!("apply {}", a.file("dumped.toml").display()));
        assert_eq!(a.must("dump"), dumped);
        for (_, pod) in &pods {
            wait_for("the pod that is back to reach another node's", || pod.pings("10.9.2.2"));
        }
        a.must(&format!("apply {}", a.file("before.toml").display()));
        assert_eq!(a.ports(), ["eth0", "a1"]);
        held.push(std::fs::read_dir(format!("/proc/{}/fd", a.pid())).unwrap().count());
    }
    assert!(held[2] <= held[0] + 2, "descriptors stay open: {held:?}");
    assert_eq!(stream.finish(), 0, "datagrams lost through a port that did not change");
    wait_for("frames to add up", || a.get::<Drops>("/v1/show/drops").conservation.balanced);
    finish([&mut a, &mut b]);
}

#[test]
fn peers_routes_and_gateways_are_in_force_when_the_command_is_done() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    wait_for("the nodes to know each other", || two.a1.pings("10.9.2.2"));
    a.must("add route 10.9.2.2 --unreachable");
    assert!(!two.a1.pings("10.9.2.2"));
    a.must("add route 10.9.2.2 10.9.7.0/24 --peer b");
    assert!(two.a1.pings("10.9.2.2"));
    let error = a.must_not("del peer b");
    assert!(error.contains("409") && error.contains("10.9.2.2/32, 10.9.7.0/24"), "{error}");
    a.must("del route 10.9.2.2 10.9.7.0/24");
    a.must("del peer b");
    assert!(!two.a1.pings("10.9.2.2"));
    a.must("add peer b --address 192.168.70.2 --tunnel vxlan --subnet 10.9.2.0/24");
    wait_for("the peer that is back", || two.a1.pings("10.9.2.2"));
    assert!(!two.a1.pings("10.9.1.77"));
    a.must("add gateway 10.9.1.77");
    assert!(two.a1.pings("10.9.1.77"));
    let done: Done = serde_json::from_str(&a.must("del gateway 10.9.1.77 --json")).unwrap();
    assert!(done.changed && !two.a1.pings("10.9.1.77"));
    finish([&mut a, &mut b]);
}

#[test]
fn what_can_not_be_is_refused_and_changes_nothing() {
    let two = Two::new();
    let pod = Space::new("pod");
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    let before = a.must("dump");
    pod.ip("link add taken type bridge");
    let port = |rest: &str| format!("add port x --kind tun --address 10.9.1.9/24 {rest}");
    let netns = &pod.name;
    let refused = [
        (port("--netns no-such-namespace --device eth0"), "no-such-namespace"),
        (port(&format!("--netns {netns} --device taken")), "exists"),
        (
            port(&format!("--netns {} --device eth0", two.a1.name)),
            "a second device is named `eth0`",
        ),
        (port("--device eth0"), "a second device is named `eth0`"),
        (port(&format!("--netns {netns} --device eth0 --mtu 20")), "/mtu: `mtu`: found"),
        (port(&format!("--netns {netns} --device eth0 --address 10.9.1.2")), "is there twice"),
        ("add route 10.8.0.0/16 --peer nobody".into(), "there is no peer `nobody`; expected `b`"),
        (
            "add peer c --address 192.168.70.1 --tunnel vxlan --subnet 10.9.3.0/24".into(),
            "of this node",
        ),
        (
            "add peer c --address 192.168.70.3 --tunnel nix --subnet 10.9.3.0/24".into(),
            "no tunnel `nix`",
        ),
        ("del port nobody".into(), "there is no port `nobody`"),
        ("del route 10.8.0.0/16".into(), "there is no route to 10.8.0.0/16"),
    ];
    for (words, said) in refused {
        let error = a.must_not(&words);
        assert!(error.contains(said), "{words}: {error}");
        assert_eq!(a.must("dump"), before, "{words}");
        assert!(!pod.has_device(), "{words}");
    }
    // A port whose namespace is gone is no less a port: it can be looked at, and removed.
    let gone = Space::new("gone");
    a.must(&format!(
        "add port g --kind tun --netns {} --device eth0 --address 10.9.1.8",
        gone.name
    ));
    drop(gone);
    assert_eq!(a.ports(), ["eth0", "a1", "g"]);
    a.must("del port g");
    // One becomes another device, and the old one goes.
    let other = Space::new("other");
    let add = |kind: &str, pod: &Space| {
        format!("add port k --kind {kind} --netns {} --device eth0 --address 10.9.1.7/24", pod.name)
    };
    a.must(&add("tun", &pod));
    let error = a.must_not(&add("tap", &pod));
    assert!(error.contains("delete that port first"), "{error}");
    a.must(&add("tap", &other));
    assert!(!pod.has_device());
    wait_for("the other device's pod to reach another node's", || other.pings("10.9.2.2"));
    a.must("del port k");
    let config = before.replace("mode = \"adaptive\"", "mode = \"poll\"");
    std::fs::write(a.file("other.toml"), config).unwrap();
    let error = a.must_not(&format!("apply {}", a.file("other.toml").display()));
    assert!(error.contains("other.toml:") && error.contains("`[workers]` has changed"), "{error}");
    assert_eq!(stream.finish(), 0, "datagrams lost");
    finish([&mut a, &mut b]);
}

/// A client that says `head`, and what it gets within a moment.
fn say(daemon: &Daemon, head: &str, body: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[test]
fn clients_that_do_not_behave_do_no_harm() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let count = |a: &Daemon| a.get::<RouteList>("/v1/routes?limit=100000").routes.len();
    let batch = |from: u32, n: u32| -> Vec<u8> {
        let nets = (from..from + n).map(|i| std::net::Ipv4Addr::from_bits(0x0b00_0000 + i * 256));
        let put = nets.map(|net| json!({ "prefix": format!("{net}/24"), "via": "blackhole" }));
        json!({ "put": put.collect::<Vec<_>>() }).to_string().into_bytes()
    };
    let head = |length: usize| {
        format!("POST /v1/routes HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
    };
    // Some say half of it and stay; one does and dies: nobody waits for them, nothing is done.
    let half = batch(0, 1000);
    let slow: Vec<_> =
        (0..20).map(|_| say(&a, &head(half.len()), &half[..half.len() / 2])).collect();
    let silent: Vec<_> = (0..20).map(|_| say(&a, "POST /v1/rou", &[])).collect();
    drop(say(&a, &head(half.len()), &half[..half.len() / 2]));
    assert_eq!(count(&a), 0);
    // Some say it all and do not wait for the answer: all of it is done, or nothing.
    for round in 0..5 {
        drop(say(&a, &head(half.len()), &batch(round * 1000, 1000)[..half.len()]));
        assert_eq!(count(&a) % 1000, 0);
    }
    // A body that is far too long, announced or not.
    let before = a.resident();
    let mut answer = String::new();
    let mut long = say(&a, &head(100_000_000), &[]);
    let _ = long.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(a.resident() < before + (20_000 << 10), "nothing was made ready for it");
    // A hundred thousand routes in one go, two clients at a time.
    let socket = a.socket.clone();
    let edits: Vec<_> = [0x0c00_0000_u32, 0x2000_0000]
        .map(|start| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let nets = (0..50_000_u32).map(|i| std::net::Ipv4Addr::from_bits(start + i * 256));
                let put =
                    nets.map(|n| json!({ "prefix": format!("{n}/24"), "via": { "peer": "b" } }));
                let batch = Content::Json(json!({ "put": put.collect::<Vec<_>>() }));
                client::call::<Done>(&socket, "POST", "/v1/routes", batch).unwrap().changed
            })
        })
        .into();
    assert!(edits.into_iter().all(|edit| edit.join().unwrap()));
    assert!(count(&a) >= 100_000 - 1);
    wait_for("pods to talk all the same", || two.a1.pings("10.9.2.2"));
    drop((slow, silent));
    finish([&mut a, &mut b]);
}
