//! An underlay that is narrower somewhere on the way than at the uplink, behind a router. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Peer, Peers};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::carry;
use daemon_support::two::{Two, finish};
use std::process::Command;

/// Two nodes and a router between them, each in a network of its own.
fn routed(two: &Two) -> Space {
    let router = Space::new("router");
    two.a.ip("link delete eth1");
    two.b.ip("link delete eth0");
    for wire in [0, 1] {
        two.plug(&router, "r", wire);
        router.ip(&format!("address add 192.168.7{wire}.254/24 dev eth{wire}"));
        router.ip(&format!("address add fd7{wire}::254/64 dev eth{wire} nodad"));
    }
    router.exec("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    for (node, device, own, other) in [(&two.a, "eth0", 0, 1), (&two.b, "eth1", 1, 0)] {
        let number = own + 1;
        node.ip(&format!("address add fd7{own}::{number}/64 dev {device} nodad"));
        node.ip(&format!("route add 192.168.7{other}.0/24 via 192.168.7{own}.254"));
        node.ip(&format!("-6 route add fd7{other}::/64 via fd7{own}::254"));
    }
    router
}

fn peer(daemon: &Daemon) -> Peer {
    daemon.get::<Peers>("/v1/show/peers").peers.remove(0)
}

/// A ping that must not be fragmented, of a packet of so many bytes.
fn ping(from: &Space, length: usize) -> String {
    let size = (length - 28).to_string();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &from.name, "ping", "-c1", "-W1", "-Mdo", "-s", &size]);
    let output = command.arg("10.9.2.2").output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn path_is_learned([a_address, b_address]: [&str; 2], tunnel: &str, overhead: usize) {
    let two = Two::new();
    let router = routed(&two);
    let config = |node, uplink, peer| {
        let config = two.config(node, uplink, peer);
        let kind = tunnel.split(['.', ']']).nth(1).unwrap();
        config
            .replace("[[tunnel.vxlan]]\nvni = 7\n", tunnel)
            .replace("tunnel = \"vxlan\"", &format!("tunnel = \"{kind}\""))
    };
    let mut a = Daemon::new(&two.a, &config("a", "eth0", b_address));
    let mut b = Daemon::new(&two.b, &config("b", "eth1", a_address));
    a.start(&two.a);
    b.start(&two.b);
    two.a1.reaches("10.9.2.2");
    assert_eq!((peer(&a).mtu, peer(&a).path_mtu), (1500 - overhead, None));

    let set = |narrow: usize| {
        // The far network, at both its ends.
        router.ip(&format!("link set eth1 mtu {narrow}"));
        two.b.ip(&format!("link set eth1 mtu {narrow}"));
    };
    // What the pod's device takes.
    let mut known = 1450;
    for narrow in [1400, 1320] {
        set(narrow);
        let within = narrow - overhead;
        // The first one is lost, and we are told; the next ones' sender is.
        wait_for("the pod to be told", || {
            two.a1.ip("route flush cache");
            ping(&two.a1, known).contains(&format!("mtu = {within}"))
        });
        known = within;
        assert_eq!((peer(&a).mtu, peer(&a).path_mtu), (within, Some(narrow)));
        wait_for("the far node to see its link", || peer(&b).mtu == within);
        assert_eq!(peer(&b).path_mtu, None, "that is no news of a router's");
        assert!(ping(&two.a1, within).contains("1 received"), "what fits passes");
        two.a1.ip("route flush cache");
        carry(&two.a1, &two.b1, "10.9.2.2", 3_000_000);
    }
    // It is remembered over a reload, and what is wider is not believed.
    set(1360);
    assert!(a.reload(&format!("{}\n", a.config())), "{}", a.log());
    a.must("add route 10.77.0.0/16 --unreachable");
    two.a1.ip("route flush cache");
    carry(&two.a1, &two.b1, "10.9.2.2", 1_000_000);
    assert_eq!(peer(&a).path_mtu, Some(1320));
    finish([&mut a, &mut b]);
}

#[test]
fn over_ipv4() {
    let vxlan = "[[tunnel.vxlan]]\nvni = 7\n";
    path_is_learned(["192.168.70.1", "192.168.71.2"], vxlan, 50);
}

#[test]
fn over_ipv6() {
    path_is_learned(["fd70::1", "fd71::2"], "[[tunnel.ipip]]\n", 40);
}

/// IPv6 for pods, whose devices are as wide as the uplink.
fn dual(config: &str, node: &str) -> String {
    let (n, m) = if node == "a" { (1, 2) } else { (2, 1) };
    config
        .replace(&format!("\"10.9.{n}.1\"]"), &format!("\"10.9.{n}.1\", \"fd00:9:{n}::1\"]"))
        .replace(
            &format!("\"10.9.{n}.2/24\"]"),
            &format!("\"10.9.{n}.2/24\", \"fd00:9:{n}::2/64\"]\nmtu = 1500"),
        )
        .replace(
            &format!("\"10.9.{m}.0/24\"]"),
            &format!("\"10.9.{m}.0/24\", \"fd00:9:{m}::/64\"]"),
        )
}

/// Two such nodes with a router between them, and the far network narrow.
fn narrow(
    two: &Two,
    [a_address, b_address]: [&str; 2],
    narrow: usize,
    edit: impl Fn(&str) -> String,
) -> (Space, Daemon, Daemon) {
    let router = routed(two);
    let config = |node, uplink, peer| edit(&dual(&two.config(node, uplink, peer), node));
    let mut a = Daemon::new(&two.a, &config("a", "eth0", b_address));
    let mut b = Daemon::new(&two.b, &config("b", "eth1", a_address));
    a.start(&two.a);
    b.start(&two.b);
    two.a1.reaches("10.9.2.2");
    router.ip(&format!("link set eth1 mtu {narrow}"));
    two.b.ip(&format!("link set eth1 mtu {narrow}"));
    (router, a, b)
}

/// Pings with packets of so many bytes that must not be fragmented, until one is answered.
fn gets_through(from: &Space, to: &str, length: usize) {
    let (family, headers) = if to.contains(':') { ("-6", 48) } else { ("-4", 28) };
    let size = (length - headers).to_string();
    wait_for(&format!("{length} bytes to {to}"), || {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &from.name, "ping", family, "-c1", "-W1", "-Mdo"]);
        command.args(["-s", &size, to]).output().unwrap().status.success()
    });
}

fn split(daemon: &Daemon) -> u64 {
    daemon.get::<Drops>("/v1/show/drops").conservation.split
}

/// IPv6 takes for granted that 1,280 bytes pass; a path that is too narrow for these and the tunnel's
/// headers carries them in fragments.
fn ipv6_pods_behind(ends: [&str; 2], mtu: usize) {
    let two = Two::new();
    let (_router, mut a, mut b) = narrow(&two, ends, mtu, str::to_owned);
    gets_through(&two.a1, "fd00:9:2::2", 1280);
    assert_eq!(peer(&a).path_mtu, Some(mtu));
    assert!(peer(&a).mtu < 1280 && split(&a) > 0 && split(&b) > 0, "{:?}", peer(&a));
    carry(&two.a1, &two.b1, "fd00:9:2::2", 1_000_000);
    // Of IPv4 the pods' kernels are told less, and there is nothing to fragment.
    carry(&two.a1, &two.b1, "10.9.2.2", 1_000_000);
    finish([&mut a, &mut b]);
}

#[test]
fn ipv6_pods_behind_a_narrow_path_of_ipv4() {
    ipv6_pods_behind(["192.168.70.1", "192.168.71.2"], 1300);
}

#[test]
fn ipv6_pods_behind_the_narrowest_path_of_ipv6() {
    ipv6_pods_behind(["fd70::1", "fd71::2"], 1280);
}

/// Whatever a pod's device takes passes in one piece, as far as pods can tell.
fn outer_fragments(ends: [&str; 2], tunnel: &str) {
    let two = Two::new();
    let (_router, mut a, mut b) = narrow(&two, ends, 1300, |config| {
        config
            .replace("[[tunnel.vxlan]]\nvni = 7\n", &format!("[[tunnel.{tunnel}]]\n"))
            .replace("tunnel = \"vxlan\"", &format!("tunnel = \"{tunnel}\"\nfragment = \"outer\""))
    });
    for (from, to) in
        [(&two.a1, ["10.9.2.2", "fd00:9:2::2"]), (&two.b1, ["10.9.1.2", "fd00:9:1::2"])]
    {
        for to in to {
            for length in [1500, 1400, 1280] {
                gets_through(from, to, length);
            }
        }
    }
    assert_eq!(peer(&a).path_mtu, Some(1300), "learned of what fits the first link");
    let before = split(&a);
    carry(&two.a1, &two.b1, "10.9.2.2", 1_000_000);
    carry(&two.a1, &two.b1, "fd00:9:2::2", 1_000_000);
    assert!(split(&a) > before + 100);
    let drops = a.get::<Drops>("/v1/show/drops").drops;
    let too_big = drops.iter().find(|drop| drop.reason == "ttl.too_big").unwrap();
    assert_eq!(too_big.count, 0, "nobody was told anything");
    finish([&mut a, &mut b]);
}

#[test]
fn outer_fragments_over_ipv4() {
    outer_fragments(["192.168.70.1", "192.168.71.2"], "udp");
}

#[test]
fn outer_fragments_over_ipv6() {
    outer_fragments(["fd70::1", "fd71::2"], "ipip");
}
