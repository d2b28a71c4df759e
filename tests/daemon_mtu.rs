//! Pods' MTUs: they follow the uplinks and the tunnels while a node runs, and traffic passes at each. Needs
//! root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Peers, Port, Ports};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::iperf::{Received, exchange, unread};
use daemon_support::two::{Two, finish};

const TUNNELS: [&str; 5] = ["vxlan", "ipip", "udp", "geneve", "direct"];

/// The config of a node whose peer is reached by this tunnel: the pod of `a` has a TUN device, that of `b`
/// a veth pair; with IPv6 addresses or without.
fn config(two: &Two, node: &str, tunnel: &str, v6: bool) -> String {
    let (n, m, peer) = if node == "a" { (1, 2, "192.168.70.2") } else { (2, 1, "192.168.70.1") };
    let (section, way) = match tunnel {
        "direct" => (String::new(), "mode = \"never\"".to_owned()),
        "vxlan" | "geneve" => (format!("[[tunnel.{tunnel}]]\nvni = 7"), String::new()),
        _ => (format!("[[tunnel.{tunnel}]]"), String::new()),
    };
    let way = if way.is_empty() { format!("tunnel = \"{tunnel}\"") } else { way };
    let mut text = two.config(node, "eth0", peer);
    text = text.replace("[[tunnel.vxlan]]\nvni = 7", &section);
    text = text.replace("tunnel = \"vxlan\"", &way);
    // Room for a burst: a jumbo frame has six chunks.
    text = text.replace("chunks = 8192", "chunks = 8192\nstandby = 512");
    if node == "b" {
        text = text.replace("kind = \"tun\"", "kind = \"af_xdp\"");
    }
    if v6 {
        for (v4, v6) in [("1\"]", "::1\"]"), ("2/24\"]", "::2/64\"]")] {
            let (v4, v6) = (format!("\"10.9.{n}.{v4}"), format!("\"fd00:9:{n}{v6}"));
            text = text.replace(&v4, &format!("{}, {v6}", v4.trim_end_matches(']')));
        }
        let subnet = format!("\"10.9.{m}.0/24\"");
        text = text.replace(&subnet, &format!("{subnet}, \"fd00:9:{m}::/64\""));
    }
    text
}

fn start(two: &Two, tunnel: &str) -> (Daemon, Daemon) {
    let mut a = Daemon::new(&two.a, &config(two, "a", tunnel, true));
    let mut b = Daemon::new(&two.b, &config(two, "b", tunnel, true));
    a.start(&two.a);
    b.start(&two.b);
    (a, b)
}

/// Both nodes go over to another config.
fn reload(two: &Two, (a, b): (&Daemon, &Daemon), tunnel: &str, v6: bool) {
    for (node, name) in [(a, "a"), (b, "b")] {
        let config = node.with_socket(&config(two, name, tunnel, v6));
        assert!(node.reload(&config), "{config}\n{}", node.log());
    }
}

/// The wire between the nodes carries packets of so many bytes from now on.
fn set_wire(two: &Two, mtu: usize) {
    for (space, device) in
        [(&two.switch, "a0"), (&two.switch, "b0"), (&two.a, "eth0"), (&two.b, "eth0")]
    {
        space.ip(&format!("link set {device} mtu {mtu}"));
    }
}

fn pod_port(daemon: &Daemon) -> Port {
    daemon.get::<Ports>("/v1/show/ports").ports.remove(1)
}

/// Whether the pod's own device has this MTU, and the port in the tables.
fn has(pod: &Space, daemon: &Daemon, mtu: usize) -> bool {
    pod_port(daemon).mtu == mtu && pod.ip("link show eth0").contains(&format!(" mtu {mtu} "))
}

fn settles_at(two: &Two, (a, b): (&Daemon, &Daemon), mtu: usize) {
    for (pod, daemon) in [(&two.a1, a), (&two.b1, b)] {
        wait_for(&format!("an MTU of {mtu}"), || has(pod, daemon, mtu));
    }
}

fn drops(daemon: &Daemon, reason: &str) -> u64 {
    let drops = daemon.get::<Drops>("/v1/show/drops").drops;
    drops.iter().find(|drop| drop.reason == reason).expect("there is such a reason").count
}

/// No packet ever was too long for anything, and all of them add up.
fn nothing_was_too_long(daemons: [&Daemon; 2]) {
    for daemon in daemons {
        for reason in ["ttl.too_big", "finish.too_big", "port.refused"] {
            assert_eq!(drops(daemon, reason), 0, "{reason}: {}", daemon.log());
        }
        wait_for("frames to add up", || {
            let law = daemon.get::<Drops>("/v1/show/drops").conservation;
            law.balanced && law.held == 0
        });
    }
}

#[test]
fn pods_mtus_follow() {
    let two = Two::new();
    let (mut a, mut b) = start(&two, "vxlan");
    let both = (&a, &b);
    settles_at(&two, both, 1450);
    let stream = two.stream();
    let from = |daemon: &Daemon| pod_port(daemon).mtu_from.unwrap();
    assert_eq!(from(&a), "uplink eth0 1500 - 50 of vxlan to peer b");
    assert!(a.show("ports").contains("uplink eth0 1500 - 50 of vxlan to peer b"));

    // An uplink, narrower and wider.
    set_wire(&two, 1400);
    settles_at(&two, both, 1350);
    set_wire(&two, 9000);
    settles_at(&two, both, 8950);
    for (to, size) in [("10.9.2.2", 8950 - 28), ("fd00:9:2::2", 8950 - 48)] {
        two.a1.exec(&format!("ping -c 1 -W 5 -M do -s {size} {to}"));
    }
    set_wire(&two, 1500);
    settles_at(&two, both, 1450);
    assert_eq!(stream.finish(), 0, "datagrams were lost");

    // Another tunnel, and a peer that has both.
    reload(&two, both, "ipip", true);
    settles_at(&two, both, 1480);
    let more = config(&two, "a", "ipip", true) + "[[tunnel.vxlan]]\nvni = 7\n";
    assert!(a.reload(&a.with_socket(&more)), "{}", a.log());
    let add = "add peer c --address 192.168.70.9 --subnet 10.9.3.0/24";
    a.must(&format!("{add} --tunnel vxlan --mode cross-subnet"));
    assert!(has(&two.a1, &a, 1450), "when it is done, it is: {}", from(&a));
    assert_eq!(from(&a), "uplink eth0 1500 - 50 of vxlan to peer c");
    a.must("del peer c");
    assert!(has(&two.a1, &a, 1480));

    // What is configured stays, until it is not.
    assert!(a.reload(&a.with_socket(
        &more.replace("device = \"eth0\"\naddr", "device = \"eth0\"\nmtu = 1300\naddr")
    )));
    assert_eq!((has(&two.a1, &a, 1300), from(&a).as_str()), (true, "configured"));
    set_wire(&two, 1400);
    wait_for("the other one", || has(&two.b1, &b, 1380));
    assert!(has(&two.a1, &a, 1300));
    assert!(a.reload(&a.with_socket(&more)));
    assert!(has(&two.a1, &a, 1380));

    // IPv6 is not on a link that is narrower than that, and pods keep it.
    set_wire(&two, 1290);
    settles_at(&two, both, 1280);
    assert_eq!(from(&a), "IPv6 needs it; left is uplink eth0 1290 - 20 of ipip to peer b");
    wait_for("a warning", || a.log().contains("packets of more than 1270 bytes"));
    assert!(two.a1.ip("-6 address show eth0").contains("fd00:9:1::2"));
    // Which those without need not have, and have again when they get it.
    reload(&two, both, "ipip", false);
    settles_at(&two, both, 1270);
    reload(&two, both, "ipip", true);
    settles_at(&two, both, 1280);
    for (pod, to) in [(&two.a1, "fd00:9:2::2"), (&two.b1, "fd00:9:1::2")] {
        pod.reaches(to);
    }
    nothing_was_too_long([&a, &b]);
    finish([&mut a, &mut b]);
}

/// VPP's matrix. A size is what pods' devices have, and the wire so much more as the tunnel adds: a wire of 1280
/// leaves nothing for IPv6 in a tunnel. Everything is changed live, from the widest on.
#[test]
fn every_size_passes_every_tunnel() {
    let two = Two::new();
    let (mut a, mut b) = start(&two, "vxlan");
    for tunnel in TUNNELS {
        reload(&two, (&a, &b), tunnel, true);
        for mtu in [9000, 2048, 1500, 1280, 512] {
            let v6 = mtu >= 1280;
            if !v6 {
                reload(&two, (&a, &b), tunnel, v6);
            }
            set_wire(&two, mtu + a.get::<Peers>("/v1/show/peers").peers[0].overhead);
            settles_at(&two, (&a, &b), mtu);
            passes(&two, ("10.9.2.2", 28), mtu);
            if v6 {
                passes(&two, ("fd00:9:2::2", 48), mtu);
            }
            println!("{tunnel} {mtu}: passes");
        }
    }
    nothing_was_too_long([&a, &b]);
    finish([&mut a, &mut b]);
}

/// TCP, and datagrams that are as long as may be, both ways; behind headers of so many bytes.
fn passes(two: &Two, (to, headers): (&str, usize), mtu: usize) {
    two.a1.reaches(to);
    let size = mtu - headers;
    let ping = two.a1.exec(&format!("ping -c 2 -i 0.2 -W 5 -M do -s {size} {to}"));
    assert!(ping.contains(" 2 received"), "{ping}");
    // What is on its way when all has been sent is not counted; that the buffers bound.
    for Received { bytes, .. } in exchange((&two.a1, &two.b1), to, "--bytes 4M --window 128K") {
        assert!(bytes > 3 << 20, "{bytes} bytes of {mtu} to {to}");
    }
    // Few enough to wait in queues while others have the cores.
    let words = format!("--udp --bitrate 10M --bytes 300K --length {size}");
    // A receiver that is kept waiting has room for ten jumbo frames.
    let unread = || unread(&two.a1) + unread(&two.b1);
    let before = unread();
    let both = exchange((&two.a1, &two.b1), to, &words);
    let datagrams: u64 = both.iter().map(|way| way.datagrams).sum();
    let lost: u64 = both.iter().map(|way| way.lost).sum();
    let lost = lost.saturating_sub(unread() - before);
    // Those behind the last one that came are in neither number.
    let most_came = datagrams > 30 && lost * 10 <= datagrams;
    assert!(most_came, "{lost} of {datagrams} are lost: {mtu} to {to}");
}
