//! Packets that do not fit the way between two nodes: what real kernels in the pods make of what they are
//! told. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Conservation, Drops, Peers};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::carry;
use daemon_support::two::{Two, finish};
use std::process::Command;

/// Nodes whose pods' devices are as wide as the underlay, which leaves no room for the tunnel: 1500.
/// `more` is said of the peers.
fn wide(two: &Two, kind: &str, tunnel: &str, more: &str) -> (Daemon, Daemon) {
    let section = match tunnel {
        "vxlan" => "[[tunnel.vxlan]]\nvni = 7".to_owned(),
        other => format!("[[tunnel.{other}]]"),
    };
    let config = |node, peer| {
        let text = two.config(node, "eth0", peer).replace("kind = \"tun\"", kind);
        let text = text.replace("[[tunnel.vxlan]]\nvni = 7", &section);
        let text = text.replace("tunnel = \"vxlan\"", &format!("tunnel = \"{tunnel}\""));
        let (n, m) = if node == "a" { (1, 2) } else { (2, 1) };
        text.replace(&format!("\"10.9.{n}.1\"]"), &format!("\"10.9.{n}.1\", \"fd00:9:{n}::1\"]"))
            .replace(
                &format!("\"10.9.{n}.2/24\"]"),
                &format!("\"10.9.{n}.2/24\", \"fd00:9:{n}::2/64\"]\nmtu = 1500"),
            )
            .replace(
                &format!("\"10.9.{m}.0/24\"]"),
                &format!("\"10.9.{m}.0/24\", \"fd00:9:{m}::/64\"]\n{more}"),
            )
    };
    let mut a = Daemon::new(&two.a, &config("a", "192.168.70.2"));
    let mut b = Daemon::new(&two.b, &config("b", "192.168.70.1"));
    a.start(&two.a);
    b.start(&two.b);
    (a, b)
}

/// What a program prints that may fail.
fn says(space: &Space, words: &str) -> (bool, String) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &space.name]).args(words.split_whitespace());
    let output = command.output().expect("ip is there");
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn drops(daemon: &Daemon, reason: &str) -> u64 {
    let drops = daemon.get::<Drops>("/v1/show/drops").drops;
    drops.iter().find(|drop| drop.reason == reason).expect("there is such a reason").count
}

fn law(daemon: &Daemon) -> Conservation {
    daemon.get::<Drops>("/v1/show/drops").conservation
}

/// A kernel forgets what it was told of ways.
fn forget(space: &Space) {
    space.ip("route flush cache");
    space.ip("-6 route flush cache");
}

/// What must be so whatever kind of device the pods have, and whatever tunnel leaves `mtu` bytes.
fn all_sizes(kind: &str, tunnel: &str, mtu: usize) {
    let two = Two::new();
    let (mut a, mut b) = wide(&two, kind, tunnel, "");
    for to in ["10.9.2.2", "fd00:9:2::2"] {
        two.a1.reaches(to);
    }
    assert_eq!(a.get::<Peers>("/v1/show/peers").peers[0].mtu, mtu);
    assert!(a.log().contains(&format!("packets of more than {mtu} bytes")), "{}", a.log());

    // TCP first, whose kernels are yet to be told.
    for to in ["10.9.2.2", "fd00:9:2::2"] {
        carry(&two.a1, &two.b1, to, 10_000_000);
        forget(&two.a1);
    }
    assert!(drops(&a, "ttl.too_big") > 0, "the kernel took 1500 bytes for granted");

    // Fragments forbidden: 28 bytes of headers, and 48 of IPv6.
    let ping =
        |to: &str, size: usize| says(&two.a1, &format!("ping -c 1 -W 5 -M do -s {size} {to}"));
    let (passed, said) = ping("10.9.2.2", mtu - 27);
    assert!(!passed && said.contains(&format!("Frag needed and DF set (mtu = {mtu})")), "{said}");
    assert!(said.contains("From 10.9.1.1"), "{said}");
    let (passed, said) = ping("10.9.2.2", mtu - 28);
    assert!(passed, "{said}");
    let (passed, said) = ping("fd00:9:2::2", mtu - 47);
    assert!(!passed && said.contains(&format!("Packet too big: mtu={mtu}")), "{said}");
    let (passed, said) = ping("fd00:9:2::2", mtu - 48);
    assert!(passed, "{said}");

    // Allowed: by us, of what the pod's kernel has cut for its own device already.
    forget(&two.a1);
    let before = law(&a).split;
    let (passed, said) = says(&two.a1, "ping -c 3 -i 0.2 -W 5 -M dont -s 3000 10.9.2.2");
    assert!(passed && said.contains("3 received"), "{said}");
    assert!(law(&a).split >= before + 6, "two of three fragments of each are cut");
    // By the pods' kernels alone, each of which has to be told first.
    wait_for("long packets to pass", || {
        says(&two.a1, "ping -6 -c 1 -W 1 -M dont -s 3000 fd00:9:2::2").0
    });

    for to in ["10.9.2.2", "fd00:9:2::2"] {
        forget(&two.a1);
        let (_, said) = says(&two.a1, &format!("tracepath -n -m 5 {to}"));
        assert!(said.contains(&format!("pmtu {mtu}")) && said.contains("reached"), "{said}");
    }
    for daemon in [&a, &b] {
        assert_eq!(drops(daemon, "finish.too_big"), 0);
        wait_for("frames to add up", || {
            let law = law(daemon);
            law.balanced && law.held == 0
        });
    }
    finish([&mut a, &mut b]);
}

#[test]
fn pods_on_tun_learn_what_passes() {
    all_sizes("kind = \"tun\"", "vxlan", 1450);
}

#[test]
fn pods_on_af_xdp_learn_what_passes() {
    all_sizes("kind = \"af_xdp\"", "vxlan", 1450);
}

#[test]
fn other_tunnels_leave_more() {
    all_sizes("kind = \"tun\"", "ipip", 1480);
    all_sizes("kind = \"tun\"", "udp", 1472);
}

#[test]
fn segments_that_are_agreed_on_fit() {
    let two = Two::new();
    let (mut a, mut b) = wide(&two, "kind = \"tun\"", "vxlan", "clamp-mss = true");
    for to in ["10.9.2.2", "fd00:9:2::2"] {
        two.a1.reaches(to);
        carry(&two.a1, &two.b1, to, 1_000_000);
    }
    for daemon in [&a, &b] {
        assert_eq!(drops(daemon, "ttl.too_big"), 0, "nobody had to be told");
    }
    finish([&mut a, &mut b]);
}
