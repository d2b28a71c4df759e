//! What is tried: tunnels as `ip link` of the guest makes them, and what we call them.

use self::Family::{V4, V6};
use crate::{GUEST_VTEP, VTEP};

/// The underlay's family.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Over {
    V4,
    V6,
}

impl Over {
    /// The address of a node: 1 is ours.
    pub(crate) fn address(self, node: u8) -> String {
        match self {
            Over::V4 => format!("192.168.72.{node}"),
            Over::V6 => format!("fd00:72::{node}"),
        }
    }

    /// With the length of the network's prefix.
    pub(crate) fn interface(self, node: u8) -> String {
        format!("{}/{}", self.address(node), if self == Over::V4 { 24 } else { 64 })
    }

    /// What `ip address add` is to say of it.
    pub(crate) fn nodad(self) -> &'static str {
        if self == Over::V4 { "" } else { "nodad" }
    }
}

/// The overlay's family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The address of a node's pod.
    pub(crate) fn pod(self, node: u8) -> String {
        self.host(node, 2)
    }

    /// That of the node to its pod.
    pub(crate) fn gateway(self, node: u8) -> String {
        self.host(node, 1)
    }

    fn host(self, node: u8, host: u8) -> String {
        match self {
            Family::V4 => format!("10.9.{node}.{host}"),
            Family::V6 => format!("fd00:9:{node}::{host}"),
        }
    }

    /// The pods' network of a node.
    fn subnet(self, node: u8) -> String {
        match self {
            Family::V4 => format!("10.9.{node}.0/24"),
            Family::V6 => format!("fd00:9:{node}::/64"),
        }
    }

    fn len(self) -> u8 {
        if self == Family::V4 { 24 } else { 64 }
    }

    /// Bytes of a ping's headers.
    pub(crate) fn ping_headers(self) -> usize {
        if self == Family::V4 { 28 } else { 48 }
    }
}

/// One thing to try.
pub(crate) struct Case {
    /// Devices of the guest, as `ip link add NAME type …` has it after `type`; none for no tunnel. `ENDS`
    /// stands for the nodes' addresses, `REMOTE` for ours.
    pub(crate) devices: &'static [&'static str],
    /// Our `[[tunnel.…]]`, by kind, and what it says.
    pub(crate) tunnel: Option<(&'static str, &'static str)>,
    pub(crate) over: Over,
    /// Inner families; each by the device of its place, or by the last one.
    pub(crate) carries: &'static [Family],
}

const fn case(
    devices: &'static [&'static str],
    tunnel: (&'static str, &'static str),
    over: Over,
    carries: &'static [Family],
) -> Case {
    Case { devices, tunnel: Some(tunnel), over, carries }
}

const IPIP: (&str, &str) = ("ipip", "");
const LIMITED: (&str, &str) = ("ipip", "encapsulation-limit = 4");
const VXLAN: (&str, &str) = ("vxlan", "vni = 7");
const GENEVE: (&str, &str) = ("geneve", "vni = 7");
const BARE: (&str, &str) = ("geneve", "vni = 7\ninner = \"ip\"");
const BOTH: &[Family] = &[V4, V6];

pub(crate) const CASES: &[Case] = &[
    case(&["ipip ENDS"], IPIP, Over::V4, &[V4]),
    case(&["sit ENDS"], IPIP, Over::V4, &[V6]),
    case(&["ipip ENDS", "sit ENDS"], IPIP, Over::V4, BOTH),
    case(&["sit mode any ENDS"], IPIP, Over::V4, BOTH),
    case(&["ip6tnl mode ipip6 ENDS encaplimit none"], IPIP, Over::V6, &[V4]),
    case(&["ip6tnl mode ipip6 ENDS"], LIMITED, Over::V6, &[V4]),
    case(&["ip6tnl mode ip6ip6 ENDS encaplimit none"], IPIP, Over::V6, &[V6]),
    case(&["ip6tnl mode ip6ip6 ENDS"], LIMITED, Over::V6, &[V6]),
    case(&["ip6tnl mode any ENDS"], LIMITED, Over::V6, BOTH),
    case(&["ipip ENDS encap fou encap-dport 8285"], ("udp", ""), Over::V4, &[V4]),
    case(&["sit ENDS encap fou encap-dport 8286"], ("udp", "port = 8286"), Over::V4, &[V6]),
    case(
        &["ip6tnl mode ipip6 ENDS encaplimit none encap fou encap-dport 8285 encap-csum"],
        ("udp", ""),
        Over::V6,
        &[V4],
    ),
    case(
        &["ip6tnl mode ip6ip6 ENDS encaplimit none encap fou encap-dport 8286 encap-csum"],
        ("udp", "port = 8286"),
        Over::V6,
        &[V6],
    ),
    case(&["geneve id 7 REMOTE"], GENEVE, Over::V4, BOTH),
    case(&["geneve id 7 REMOTE"], GENEVE, Over::V6, BOTH),
    case(&["geneve id 7 REMOTE innerprotoinherit"], BARE, Over::V4, BOTH),
    case(&["geneve id 7 REMOTE innerprotoinherit"], BARE, Over::V6, BOTH),
    case(&["vxlan id 7 dstport 4789 dev eth0 ENDS"], VXLAN, Over::V4, BOTH),
    case(&["vxlan id 7 dstport 4789 dev eth0 ENDS"], VXLAN, Over::V6, BOTH),
    case(
        &["vxlan id 7 dstport 4789 dev eth0 ENDS udpcsum"],
        ("vxlan", "vni = 7\nudp-checksum = true"),
        Over::V4,
        BOTH,
    ),
    case(
        &["vxlan id 7 dstport 4789 dev eth0 ENDS udp6zerocsumtx udp6zerocsumrx"],
        ("vxlan", "vni = 7\nudp-checksum = false"),
        Over::V6,
        BOTH,
    ),
    Case { devices: &[], tunnel: None, over: Over::V4, carries: &[V4] },
    Case { devices: &[], tunnel: None, over: Over::V6, carries: &[V6] },
];

impl Case {
    pub(crate) fn name(&self) -> String {
        self.devices.join(", ").replace(" ENDS", "").replace(" REMOTE", "")
    }

    /// Our tunnel's kind, and what is said of it.
    pub(crate) fn ours(&self) -> String {
        match self.tunnel {
            None => "`direct`".to_owned(),
            Some((kind, words)) => {
                let words = words.split('\n').filter(|word| !word.is_empty());
                let all = [kind].into_iter().chain(words);
                all.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Our config, with a pod in this namespace.
    pub(crate) fn config(&self, netns: &str) -> String {
        let (tunnel, way) = match self.tunnel {
            None => (String::new(), "mode = \"never\"".to_owned()),
            Some((kind, words)) => {
                let mac = |key, mac| match has_macs(kind) {
                    true => format!("{key} = {mac:?}\n"),
                    false => String::new(),
                };
                let tunnel = format!("[[tunnel.{kind}]]\n{}{words}", mac("mac", VTEP));
                (tunnel, format!("tunnel = {kind:?}\n{}", mac("vtep-mac", GUEST_VTEP)))
            }
        };
        let both = |one: fn(Family) -> String| [V4, V6].map(one);
        format!(
            r#"[node]
name = "node"
[memory]
chunks = 8192
huge-pages = false
[[uplink]]
device = "eth0"
{tunnel}
[gateway]
addresses = {gateways:?}
[[port]]
name = "pod"
kind = "tun"
netns = "{netns}"
device = "eth0"
mtu = 1500
addresses = {pods:?}
[[peer]]
name = "guest"
address = "{guest}"
{way}
subnets = {subnets:?}
"#,
            gateways = both(|family| family.gateway(1)),
            pods = both(|family| format!("{}/{}", family.pod(1), family.len())),
            guest = self.over.address(2),
            subnets = both(|family| family.subnet(2)),
        )
    }

    /// What makes the guest's end.
    pub(crate) fn theirs(&self) -> Vec<String> {
        let (remote, local) = (self.over.address(1), self.over.address(2));
        let ends = format!("remote {remote} local {local}");
        let mut lines = Vec::new();
        for (number, device) in self.devices.iter().enumerate() {
            let words =
                device.replace("ENDS", &ends).replace("REMOTE", &format!("remote {remote}"));
            lines.push(format!("ip link add tun{number} type {words}"));
            lines.push(format!("ip link set tun{number} addrgenmode none up"));
            if self.is_ethernet() {
                lines.push(format!("ip link set tun{number} address {GUEST_VTEP}"));
            }
        }
        for (place, family) in self.carries.iter().enumerate() {
            let (net, gateway) = (family.subnet(1), family.gateway(1));
            let device = place.min(self.devices.len().saturating_sub(1));
            let way = match (self.devices, self.is_ethernet()) {
                ([], _) => format!("via {remote}"),
                (_, false) => format!("dev tun{device}"),
                (_, true) => {
                    let to = format!("to {gateway} lladdr {VTEP} dev tun{device}");
                    lines.push(format!("ip neighbour add {to} nud permanent"));
                    format!("via {gateway} dev tun{device} onlink")
                }
            };
            // By its own address of the overlay it says what it has to say of packets.
            lines.push(format!("ip route add {net} {way} src {}", family.gateway(2)));
        }
        lines
    }

    /// The device that packets take there.
    pub(crate) fn device(&self) -> &'static str {
        if self.devices.is_empty() { "eth0" } else { "tun0" }
    }

    /// What removes it again.
    pub(crate) fn removed(&self) -> Vec<String> {
        if self.devices.is_empty() {
            let nets = self.carries.iter().map(|family| family.subnet(1));
            return nets.map(|net| format!("ip route delete {net}")).collect();
        }
        (0..self.devices.len()).map(|number| format!("ip link delete tun{number}")).collect()
    }

    fn is_ethernet(&self) -> bool {
        self.tunnel.is_some_and(|(kind, words)| has_macs(kind) && !words.contains("inner"))
    }
}

/// Whether our tunnels of that kind may have Ethernet frames in them.
fn has_macs(kind: &str) -> bool {
    ["vxlan", "geneve"].contains(&kind)
}

/// What makes a node of the guest: it forwards for a pod, in which iperf3 waits.
pub(crate) fn guest() -> Vec<String> {
    let mut lines: Vec<String> = [
        "ip link set lo up",
        "ip link set eth0 up",
        "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        "ip netns add pod",
        "ip link add pod0 type veth peer name eth0 netns pod",
        "ip link set pod0 up",
        "ip fou add port 8285 ipproto 4",
        "ip fou add port 8286 ipproto 41",
        "ip -6 fou add port 8285 ipproto 4",
        "ip -6 fou add port 8286 ipproto 41",
        "ip -n pod link set lo up",
        "ip -n pod link set eth0 up",
    ]
    .map(str::to_owned)
    .into();
    for over in [Over::V4, Over::V6] {
        lines.push(format!("ip address add {} dev eth0 {}", over.interface(2), over.nodad()));
    }
    for family in [V4, V6] {
        let (gateway, pod, len) = (family.gateway(2), family.pod(2), family.len());
        let nodad = if family == V6 { "nodad" } else { "" };
        lines.push(format!("ip address add {gateway}/{len} dev pod0 {nodad}"));
        lines.push(format!("ip -n pod address add {pod}/{len} dev eth0 {nodad}"));
        lines.push(format!("ip -n pod route add default via {gateway}"));
    }
    lines.push("ip netns exec pod iperf3 --server --daemon".to_owned());
    lines
}
