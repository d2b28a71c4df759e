//! An underlay that is narrower somewhere on the way than at the uplink, behind a router. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Peer, Peers};
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
