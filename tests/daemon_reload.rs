//! A node whose config changes while traffic runs. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Routes};
use daemon_support::Space;
use daemon_support::daemon::wait_for;
use daemon_support::iperf::{self, Iperf};
use daemon_support::two::{Two, finish};
use std::time::Duration;

fn port(name: &str, kind: &str, netns: &Space, address: &str) -> String {
    let netns = &netns.name;
    format!(
        "[[port]]\nname = \"{name}\"\nkind = \"{kind}\"\nnetns = \"{netns}\"\ndevice = \"eth0\"\n\
         addresses = [\"{address}\"]\n"
    )
}

#[test]
fn ports_peers_and_routes_come_and_go_and_others_notice_nothing() {
    let two = Two::new();
    let (a2, a3) = (Space::new("a2"), Space::new("a3"));
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let first = a.config();
    let stream = two.stream();
    let before = two.a1.ip("-details link show eth0");

    let more = port("a2", "tun", &a2, "10.9.1.3/24") + &port("a3", "af_xdp", &a3, "10.9.1.4/32");
    assert!(a.reload(&format!("{first}{more}")), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1", "a2", "a3"]);
    for pod in [&a2, &a3] {
        wait_for("a new pod to reach another node's", || pod.pings("10.9.2.2"));
    }
    // The same device with another address and MTU, the other one gone, and a route in its place.
    let other = port("a2", "tun", &a2, "10.9.1.5/24") + "mtu = 1300\n";
    let route = "[[route]]\nprefix = \"10.9.1.4/32\"\nvia = \"unreachable\"\n";
    assert!(a.reload(&format!("{first}{other}{route}")), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1", "a2"]);
    assert!(!a3.ip("-brief link").contains("eth0"), "the pod's device is gone");
    assert!(a2.ip("address show eth0").contains("10.9.1.5/24"));
    assert!(a2.ip("link show eth0").contains("mtu 1300"));
    wait_for("the pod to reach another node's from its new address", || a2.pings("10.9.2.2"));
    let routes: Routes = a.get("/v1/show/routes");
    let kind = routes.routes.iter().find(|r| r.prefix.to_string() == "10.9.1.4/32").unwrap();
    assert_eq!(kind.kind, "unreachable");

    // What came through the API stays, and is an error when the file has it otherwise.
    let netns = &a3.name;
    a.must(&format!("add port a9 --kind tun --netns {netns} --device eth0 --address 10.9.1.9/24"));
    assert!(a.reload(&format!("{first}{other}")), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1", "a2", "a9"]);
    assert!(!a.reload(&format!("{first}{}", port("a9", "tun", &a3, "10.9.1.10/24"))));
    assert!(a.log().contains("port `a9` came through the API"), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1", "a2", "a9"]);
    a.must("del port a9");

    // Another peer, and back to the beginning.
    let peer = "[[peer]]\nname = \"c\"\naddress = \"192.168.70.9\"\ntunnel = \"vxlan\"\n\
                subnets = [\"10.9.3.0/24\"]\n";
    assert!(a.reload(&format!("{first}{peer}")), "{}", a.log());
    assert!(a.reload(&first), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1"]);
    assert_eq!(two.a1.ip("-details link show eth0"), before, "what did not change is not touched");
    assert_eq!(stream.finish(), 0, "datagrams lost through a port that did not change");
    finish([&mut a, &mut b]);
}

#[test]
fn a_config_that_can_not_be_taken_leaves_everything_as_it_was() {
    let two = Two::new();
    let a2 = Space::new("a2");
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let first = a.config();
    let stream = two.stream();
    let more = port("a2", "tun", &a2, "10.9.1.3/24");
    let missing = port("a3", "tun", &a2, "10.9.1.4/24").replace(&a2.name, "no-such-namespace");
    let bad = [
        (format!("{first}mtu = 1"), "node.toml:"),
        (first.replace("chunks = 8192", "chunks = 4096"), "node.toml:4:1: `[memory]` has changed"),
        (format!("{first}{more}{missing}"), "no-such-namespace"),
        (first.replace("kind = \"tun\"", "kind = \"tap\""), "delete that port first"),
    ];
    for (config, words) in bad {
        assert!(!a.reload(&config), "{config}");
        assert!(a.log().contains(words), "{words}: {}", a.log());
        assert_eq!(a.ports(), ["eth0", "a1"]);
        assert!(!a2.ip("-brief link").contains("eth0"), "what was begun is undone");
    }
    assert!(a.reload(&first));
    assert_eq!(stream.finish(), 0, "datagrams lost");
    finish([&mut a, &mut b]);
}

/// Routes to `count` prefixes from the `skip`th on.
fn routes(via: &str, skip: u32, count: u32) -> String {
    let nets = (skip..skip + count).map(|i| std::net::Ipv4Addr::from_bits(0x0b00_0000 + i * 256));
    nets.map(|net| format!("[[route]]\nprefix = \"{net}/24\"\nvia = {via}\n")).collect()
}

#[test]
fn an_iperf3_through_ports_that_stay_does_not_notice() {
    let two = Two::new();
    let (a2, a3) = (Space::new("a2"), Space::new("a3"));
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let first = a.config();
    let peer = "[[peer]]\nname = \"c\"\naddress = \"192.168.70.9\"\ntunnel = \"vxlan\"\n\
                subnets = [\"10.9.3.0/24\"]\n";
    let others = [
        routes("\"blackhole\"", 0, 10_000),
        port("a2", "tun", &a2, "10.9.1.3/24"),
        peer.to_owned(),
        routes("{ peer = \"b\" }", 5_000, 10_000),
        port("a3", "af_xdp", &a3, "10.9.1.4/32") + peer,
        String::new(),
    ];
    let time = Duration::from_secs(6);
    // At a rate at which who reads them may be away for half a second.
    let words = "--udp --bitrate 1M --length 250 --window 208K";
    let udp = Iperf::start((&two.a1, &two.b1), ("10.9.2.2", 5201), time, words);
    let tcp = Iperf::start((&two.b1, &two.a1), ("10.9.1.2", 5202), time, "--bitrate 20M");
    let mut reloads = 0;
    while udp.is_sending() {
        assert!(a.reload(&format!("{first}{}", others[reloads % others.len()])), "{}", a.log());
        reloads += 1;
    }
    let (udp, tcp, unread) = (udp.finish(), tcp.finish(), iperf::unread(&two.b1));
    println!("{reloads} reloads; {} datagrams; {unread} not read in time", udp.datagrams);
    assert!(reloads > others.len(), "each config was in force, and left again");
    assert_eq!((udp.lost - unread, udp.late), (0, 0), "{udp:?}");
    assert!(udp.datagrams > 1000 && unread < udp.datagrams / 10, "{udp:?}");
    // Where programs share two cores one of these may have none for a moment.
    let stood_still = tcp.intervals.windows(4).any(|some| some.iter().all(|bytes| *bytes == 0));
    assert!(tcp.intervals.len() > 40 && !stood_still, "{tcp:?}");
    for daemon in [&a, &b] {
        println!("{}", daemon.show("drops"));
        wait_for("frames to add up", || {
            daemon.get::<Drops>("/v1/show/drops").conservation.balanced
        });
    }
    finish([&mut a, &mut b]);
}

#[test]
fn ten_thousand_routes_are_swapped_and_no_packet_that_had_one_is_lost() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let first = a.config();
    let stream = two.stream();
    // The stream's own destination has a better route now and then.
    let own = "[[route]]\nprefix = \"10.9.2.2/32\"\nvia = { peer = \"b\" }\n";
    for round in 0..6_u32 {
        let via = if round % 2 == 0 { "\"blackhole\"" } else { "{ peer = \"b\" }" };
        let own = if round % 3 == 0 { own } else { "" };
        let text = format!("{first}{own}{}", routes(via, round * 5_000, 10_000));
        assert!(a.reload(&text), "{}", a.log());
    }
    assert!(a.get::<Routes>("/v1/show/routes").routes.len() > 10_000);
    assert_eq!(stream.finish(), 0, "datagrams lost");
    finish([&mut a, &mut b]);
}
