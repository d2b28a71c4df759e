//! Two nodes, two wires, and a pod on each node.

use super::Space;
use super::daemon::Daemon;
use super::stream::Stream;
use cableway::io::netns;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Two nodes with a pod each, joined by two switches: by `eth0` and by `eth1`.
///
/// ```text
/// a1 ─ a ┬ eth0 ─ br0 ─ eth0 ┬ b ─ b1      192.168.70.0/24
///        └ eth1 ─ br1 ─ eth1 ┘             192.168.71.0/24
/// ```
pub(crate) struct Two {
    pub(crate) a: Space,
    pub(crate) b: Space,
    pub(crate) a1: Space,
    pub(crate) b1: Space,
    pub(crate) switch: Space,
}

impl Two {
    pub(crate) fn new() -> Two {
        let two = Two {
            a: Space::new("a"),
            b: Space::new("b"),
            a1: Space::new("a1"),
            b1: Space::new("b1"),
            switch: Space::new("switch"),
        };
        for bridge in ["br0", "br1"] {
            two.switch.ip(&format!("link add {bridge} type bridge"));
            two.switch.ip(&format!("link set {bridge} up"));
        }
        for (node, label, number) in [(&two.a, "a", 1), (&two.b, "b", 2)] {
            for wire in [0, 1] {
                two.plug(node, label, wire);
                node.ip(&format!("address add 192.168.7{wire}.{number}/24 dev eth{wire}"));
            }
        }
        two
    }

    /// A wire from a node to a switch.
    pub(crate) fn plug(&self, node: &Space, label: &str, wire: u8) {
        let port = format!("{label}{wire}");
        node.ip(&format!(
            "link add eth{wire} type veth peer name {port} netns {}",
            self.switch.name
        ));
        self.switch.ip(&format!("link set {port} master br{wire}"));
        self.switch.ip(&format!("link set {port} up"));
        node.ip(&format!("link set eth{wire} up"));
    }

    pub(crate) fn config(&self, node: &str, uplinks: &str, peer_address: &str) -> String {
        let (n, m, peer, pod) =
            if node == "a" { (1, 2, "b", &self.a1) } else { (2, 1, "a", &self.b1) };
        let uplinks = uplinks.split_whitespace();
        let uplinks: String =
            uplinks.map(|device| format!("[[uplink]]\ndevice = \"{device}\"\n")).collect();
        format!(
            r#"[node]
name = "{node}"
[memory]
chunks = 8192
huge-pages = false
{uplinks}[[tunnel.vxlan]]
vni = 7
[gateway]
addresses = ["10.9.{n}.1"]
[[port]]
name = "{node}1"
kind = "tun"
netns = "{netns}"
device = "eth0"
addresses = ["10.9.{n}.2/24"]
[[peer]]
name = "{peer}"
address = "{peer_address}"
tunnel = "vxlan"
subnets = ["10.9.{m}.0/24"]
"#,
            netns = pod.name
        )
    }

    /// Both nodes at work, with these uplinks, known to each other by these addresses.
    pub(crate) fn start(&self, uplinks: &str, a: &str, b: &str) -> (Daemon, Daemon) {
        let mut nodes = (
            Daemon::new(&self.a, &self.config("a", uplinks, b)),
            Daemon::new(&self.b, &self.config("b", uplinks, a)),
        );
        nodes.0.start(&self.a);
        nodes.1.start(&self.b);
        nodes
    }

    /// Both ends of a TCP connection from a1 to a port of b1; reading from one waits for two seconds.
    pub(crate) fn connection(&self, port: u16) -> (TcpStream, TcpStream) {
        let there = SocketAddr::from(([10, 9, 2, 2], port));
        let listener = netns::within(Some(&self.b1.path()), || TcpListener::bind(there));
        let listener = listener.expect("the pod is there").expect("the address is its own");
        let client = netns::within(Some(&self.a1.path()), || TcpStream::connect(there));
        let client = client.expect("the pod is there").expect("the pods reach each other");
        let (server, _) = listener.accept().expect("the client is there");
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(2))).expect("a time that is not zero");
        }
        (client, server)
    }

    pub(crate) fn stream(&self) -> Stream {
        let stream = Stream::new(&self.a1, &self.b1, "10.9.2.2");
        stream.passes();
        stream
    }
}

/// Ends nodes, which must end well.
pub(crate) fn finish<const N: usize>(daemons: [&mut Daemon; N]) {
    for daemon in daemons {
        let end = daemon.end("TERM");
        assert!(end.status.success(), "{}: {}", end.status, end.error);
    }
}
