#!/usr/bin/env python3
"""Writes the bytes below the expressions of every in.txt, by an independent implementation, scapy.

    apt-get install python3-scapy
    /usr/bin/python3 frames.py            # all scenarios
    /usr/bin/python3 frames.py vlan ...   # these

The output depends on nothing but the expressions and the names below, and is committed, so that
the tests need no scapy; it was made by scapy 2.5.0.
"""

import sys
from pathlib import Path

from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import (ICMP, IP, TCP, UDP, ICMPerror, IPerror, IPOption_LSRR,
                               IPOption_Router_Alert, IPOption_Timestamp, TCPerror, UDPerror, fragment)
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptSrcLLAddr, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                ICMPv6ND_RS, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPerror6, IPv6, IPv6ExtHdrDestOpt,
                                IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

# Names for the expressions: addresses of pods, gateways and nodes, as node.toml and node.rs have them.
a1, a2, a3, small = "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5"
b1, c1 = "10.244.2.2", "10.244.3.2"
a1_6, a2_6, a3_6 = (f"fd00:10:244:1::{n}" for n in (2, 3, 4))
b1_6, c1_6 = "fd00:10:244:2::2", "fd00:10:244:3::2"
gw, gw_ll, gw_6, gw_ll6 = "10.244.1.1", "169.254.1.1", "fd00:10:244:1::1", "fe80::1"
node_a, node_b, node_a6, node_c = "192.168.77.1", "192.168.77.2", "fd77::1", "fd77::3"
gw_mac, a1_mac, a3_mac = "02:00:00:00:00:01", "02:00:00:00:01:02", "02:00:00:00:01:04"
all_mac, no_mac = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"
vtep_a, vtep_b, vtep_c = (f"02:00:00:00:{n}:{n}" for n in ("0a", "0b", "0c"))

# What stands in front of a pod's packet, and of an outer packet.
A1 = Ether(src=a1_mac, dst=gw_mac)
A3 = Ether(src=a3_mac, dst=gw_mac)
WIRE = Ether(src="02:00:00:00:00:0b", dst="02:00:00:00:00:0a")
# What stands in front of an inner Ethernet header, and of an inner packet: of peer b, and of c.
VXLAN_B = UDP(sport=50000, dport=8472, chksum=0) / VXLAN(flags="Instance", vni=1)
VXLAN_C = UDP(sport=50000, dport=8472) / VXLAN(flags="Instance", vni=2)
INNER_B, INNER_C = Ether(src=vtep_b, dst=vtep_a), Ether(src=vtep_c, dst=vtep_a)
FROM_B = WIRE / IP(src=node_b, dst=node_a, id=1) / VXLAN_B / INNER_B
FROM_C = WIRE / IPv6(src=node_c, dst=node_a6) / VXLAN_C / INNER_C
# What stands in front of a Geneve header.
UDP_B, UDP_C = UDP(sport=50000, dport=6081, chksum=0), UDP(sport=50000, dport=6081)
GENEVE_B = WIRE / IP(src=node_b, dst=node_a, id=1) / UDP_B
GENEVE_C = WIRE / IPv6(src=node_c, dst=node_a6) / UDP_C


def text(length):
    """Bytes that are no two times the same."""
    return Raw(bytes(i % 251 for i in range(length)))


def cut(packet, length):
    """The frame's first bytes."""
    return bytes(packet)[:length]


def put(packet, at, value):
    """The frame with other bytes, in hex, from `at` on."""
    value = bytes.fromhex(value)
    packet = bytes(packet)
    return packet[:at] + value + packet[at + len(value):]


def left_to_device(packet):
    """The frame with the pseudo-header's sum in its TCP or UDP checksum."""
    from scapy.layers.inet import in4_pseudoheader
    from scapy.layers.inet6 import in6_pseudoheader
    whole = packet.__class__(bytes(packet))
    segment = whole[TCP] if TCP in whole else whole[UDP]
    length = len(bytes(segment))
    if IPv6 in whole:
        pseudo = bytes(in6_pseudoheader(segment.underlayer.nh, whole[IPv6], length))
    else:
        pseudo = in4_pseudoheader(segment.underlayer.proto, whole[IP], length)
    total = sum(int.from_bytes(pseudo[i:i + 2], "big") for i in range(0, len(pseudo), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    segment.chksum = total
    return whole


def write(path):
    lines = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(" "):
            continue
        lines.append(line)
        if " < " in line and not line.startswith("#"):
            try:
                frame = bytes(eval(line.split(" < ", 1)[1]))
            except Exception as error:
                sys.exit(f"{path}:{number}: {error}")
            lines += ["    " + frame[i:i + 32].hex() for i in range(0, len(frame), 32)]
    path.write_text("\n".join(lines) + "\n")


here = Path(__file__).parent
for name in sys.argv[1:] or sorted(path.parent.name for path in here.glob("*/in.txt")):
    write(here / name / "in.txt")
