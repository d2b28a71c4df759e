//! The node itself in the overlay, and pods outside of it: the `host` port, forwarding and
//! masquerade. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::io::netns;
use daemon_support::daemon::{Daemon, PATIENCE};
use daemon_support::stream::carry;
use daemon_support::two::{Two, finish};
use daemon_support::{Space, run};
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Output};

/// Two nodes whose hosts have ports, and the internet behind the switch. It knows nothing of the
/// overlay.
struct World {
    two: Two,
    internet: Space,
}

impl World {
    fn new() -> World {
        let world = World { two: Two::new(), internet: Space::new("net") };
        let World { two, internet } = &world;
        two.plug(internet, "net", 0);
        internet.ip("address add 192.168.70.254/24 dev eth0");
        internet.ip("address add fd70::254/64 dev eth0 nodad");
        internet.ip("address add 198.51.100.1/32 dev lo");
        internet.ip("address add 2001:db8::1/128 dev lo");
        two.a.ip("address add fd70::1/64 dev eth0 nodad");
        two.a.ip("route add default via 192.168.70.254");
        two.a.ip("route add default via fd70::254");
        for setting in FORWARDING.iter().chain(&["net.ipv4.conf.all.accept_redirects"]) {
            two.a.exec(&format!("sysctl -qw {setting}=0"));
        }
        // As strict as can be.
        two.a.exec("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
        two.a.exec("nft add table inet other");
        world
    }

    /// A node with a port for its host, by which the pods of `a` reach what is not in the overlay.
    fn config(&self, node: &str) -> String {
        let n = if node == "a" { 1 } else { 2 };
        let peer = if node == "a" { "192.168.70.2" } else { "192.168.70.1" };
        let mut config = self.two.config(node, "eth0", peer);
        for (pattern, also) in [
            (format!("\"10.9.{n}.1\""), format!("\"fd00:9:{n}::1\"")),
            (format!("\"10.9.{n}.2/24\""), format!("\"fd00:9:{n}::2/64\"")),
            (format!("\"10.9.{}.0/24\"", 3 - n), format!("\"fd00:9:{}::/64\"", 3 - n)),
        ] {
            config = config.replace(&pattern, &format!("{pattern}, {also}"));
        }
        if node == "a" {
            let masquerade = "masquerade = [\"10.9.0.0/16\", \"fd00:9::/32\"]\n[[port]]";
            config = config.replacen("[[port]]", masquerade, 1);
            for everything in ["0.0.0.0/0", "::/0"] {
                config +=
                    &format!("[[route]]\nprefix = \"{everything}\"\nvia = {{ port = \"host\" }}\n");
            }
        }
        config
            + &format!(
                r#"[[port]]
name = "host"
kind = "tun"
device = "cableway0"
addresses = ["10.9.{n}.254/32", "fd00:9:{n}::254/128"]
routes = ["10.9.0.0/16", "fd00:9::/32"]
"#
            )
    }

    fn start(&self) -> (Daemon, Daemon) {
        let mut nodes = (
            Daemon::new(&self.two.a, &self.config("a")),
            Daemon::new(&self.two.b, &self.config("b")),
        );
        nodes.0.start(&self.two.a);
        nodes.1.start(&self.two.b);
        nodes
    }

    /// What a daemon may change on node `a`: settings, tables, devices, and what the kernel keeps
    /// resolved.
    fn state(&self) -> String {
        let a = &self.two.a;
        let mut state = a.exec("sysctl -a --pattern ^net.ipv[46].*(forward|accept_r|rp_filter)");
        state += &a.exec("nft list ruleset");
        let devices = a.ip("-brief link");
        state.extend(devices.lines().filter_map(|line| line.split_whitespace().next()));
        let neighbours = a.ip("neighbour");
        state.extend(neighbours.lines().filter(|line| line.contains("managed")));
        state
    }
}

const FORWARDING: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

/// The source of a datagram from `from`, as it is seen at `address` in `to`.
fn source(from: &Space, to: &Space, address: &str) -> IpAddr {
    let address: IpAddr = address.parse().unwrap();
    let server = netns::within(Some(&to.path()), || UdpSocket::bind((address, 0))).unwrap();
    let server = server.unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = netns::within(Some(&from.path()), || UdpSocket::bind(any)).unwrap().unwrap();
    client.send_to(b"who am I?", server.local_addr().unwrap()).unwrap();
    server.recv_from(&mut [0; 16]).unwrap().1.ip()
}

/// Whether the router says at once that nobody has that address.
fn unreachable(from: &Space, address: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &from.name, "ping", "-c", "1", "-W", "5", address]);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("Destination Host Unreachable")
}

/// `cableway cleanup` on node `a`.
fn cleanup(world: &World, a: &Daemon) -> Output {
    let (socket, binary) = (a.socket.to_str().unwrap(), env!("CARGO_BIN_EXE_cableway"));
    let words = ["netns", "exec", &world.two.a.name, binary, "cleanup", "--socket", socket];
    Command::new("ip").args(words).output().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_node_and_its_pods_reach_each_other_and_the_outside() {
    let world = World::new();
    let World { two, internet } = &world;
    let before = world.state();
    let (mut a, mut b) = world.start();
    for (own, remote) in [("10.9.1.2", "10.9.2.2"), ("fd00:9:1::2", "fd00:9:2::2")] {
        two.a.reaches(own);
        two.a.reaches(remote);
        two.b.reaches(own);
    }
    for (own, remote) in [("10.9.1.254", "10.9.2.254"), ("fd00:9:1::254", "fd00:9:2::254")] {
        two.a1.reaches(own);
        two.a1.reaches(remote);
        two.a.reaches(remote);
    }
    for outside in ["198.51.100.1", "2001:db8::1"] {
        two.a1.reaches(outside);
        carry(&two.a1, internet, outside, 300_000);
    }
    // Outside pods have the node's address, within the overlay their own.
    assert_eq!(source(&two.a1, internet, "198.51.100.1"), ip("192.168.70.1"));
    assert_eq!(source(&two.a1, internet, "2001:db8::1"), ip("fd70::1"));
    assert_eq!(source(&two.a1, &two.b, "10.9.2.254"), ip("10.9.1.2"));
    assert_eq!(source(&two.a1, &two.a, "10.9.1.254"), ip("10.9.1.2"));
    assert_eq!(source(&two.a1, &two.b, "fd00:9:2::254"), ip("fd00:9:1::2"));
    assert_eq!(source(&two.a, &two.b1, "10.9.2.2"), ip("10.9.1.254"));
    assert_eq!(source(&two.b, &two.a1, "10.9.1.2"), ip("10.9.2.254"));
    // Nor does it go round between the node and the router where nobody has it.
    assert!(unreachable(&two.a1, "10.9.77.1"));
    for setting in FORWARDING {
        assert_eq!(two.a.exec(&format!("sysctl -n {setting}")).trim(), "1");
    }
    finish([&mut a, &mut b]);
    assert_eq!(world.state(), before, "all is as it was");
    assert!(!a.socket.with_extension("left").exists());
}

#[test]
fn what_a_killed_node_left_is_mended_by_the_next_one() {
    let world = World::new();
    let before = world.state();
    let pod = Space::new("pod");
    let mut a = Daemon::new(&world.two.a, &world.config("a"));
    a.start(&world.two.a);
    let netns = &pod.name;
    a.must(&format!(
        "add port p --kind af_xdp --netns {netns} --device eth0 --address 10.9.1.9/24"
    ));
    a.end("KILL");
    assert_ne!(world.state(), before, "settings, tables and devices outlive a daemon");
    a.start(&world.two.a);
    assert!(a.log().contains("undoing what a killed daemon left"), "{}", a.log());
    world.two.a1.reaches("198.51.100.1");
    pod.reaches("198.51.100.1");
    finish([&mut a]);
    assert_eq!(world.state(), before, "all is as it was");
    let nothing = cleanup(&world, &a);
    assert_eq!(String::from_utf8_lossy(&nothing.stdout), "nothing was left\n");
    assert_eq!(run("ls", &[a.socket.parent().unwrap().to_str().unwrap()]), "log\nnode.toml\n");
}

#[test]
fn pods_get_out_by_a_port_of_the_node_that_came_while_it_ran() {
    let world = World::new();
    let World { two, internet } = &world;
    let before = world.state();
    let mut a = Daemon::new(&two.a, &world.config("a"));
    a.start(&two.a);
    // Replies to this node's pods come back by it, too.
    a.must(
        "add port second --kind tun --device cableway1 --address 10.9.1.253/32 \
         --address fd00:9:1::253/128 --route 10.9.1.0/24 --route fd00:9:1::/64",
    );
    a.must("add route 0.0.0.0/0 ::/0 --port second");
    for life in 0..2 {
        for (outside, own) in [("198.51.100.1", "192.168.70.1"), ("2001:db8::1", "fd70::1")] {
            two.a1.reaches(outside);
            assert_eq!(source(&two.a1, internet, outside), ip(own), "life {life}");
        }
        let out = two.a.exec("cat /sys/class/net/cableway1/statistics/rx_packets");
        assert_ne!(out.trim(), "0", "they go out by the port that came");
        if life == 0 {
            a.end("KILL");
            a.start(&two.a);
        }
    }
    a.must("add route 0.0.0.0/0 ::/0 --port host");
    a.must("del port second");
    two.a1.reaches("198.51.100.1");
    finish([&mut a]);
    assert_eq!(world.state(), before, "all is as it was");
}

#[test]
fn what_a_killed_node_left_is_cleaned_up() {
    let world = World::new();
    let before = world.state();
    let mut a = Daemon::new(&world.two.a, &world.config("a"));
    a.start(&world.two.a);
    let refused = cleanup(&world, &a);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("another daemon"), "{error}");
    a.must("add route 10.88.0.0/16 --blackhole");
    a.end("KILL");
    // What somebody else has set meanwhile stays.
    world.two.a.exec("sysctl -qw net.ipv6.conf.eth1.accept_ra=0");
    let done = cleanup(&world, &a);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for word in [
        "socket",
        "came through the API",
        "inet cableway",
        "ipv4/ip_forward = 1; it is 0 again",
        "192.168.70.2",
    ] {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert_eq!(world.two.a.exec("sysctl -n net.ipv6.conf.eth1.accept_ra").trim(), "0");
    world.two.a.exec("sysctl -qw net.ipv6.conf.eth1.accept_ra=1");
    assert_eq!(world.state(), before, "all is as it was");
    let again = cleanup(&world, &a);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "nothing was left\n");
    assert_eq!(run("ls", &[a.socket.parent().unwrap().to_str().unwrap()]), "log\nnode.toml\n");
}
