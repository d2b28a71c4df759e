#!/usr/bin/env python3
"""Makes frames.pcap: VXLAN packets by an independent implementation, scapy.

    apt-get install python3-scapy
    python3 generate.py            # writes frames.pcap beside itself

The capture holds bare IP packets (link type 101) in pairs: an outer packet, then the inner packet
that it carries. The tests take the tunnel's configuration from the outer packet, so a new case
is a line of CASES and nothing else. The output depends on nothing but this file and is committed;
it was made by scapy 2.5.0.
"""

from itertools import product
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from scapy.utils import RawPcapWriter

NODE_A, NODE_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
EF, AF11 = 0xB8, 0x28  # DSCPs, in place within the byte
ECT0, ECT1, CE = 2, 1, 3


def text(length):
    return Raw(bytes(i % 251 for i in range(length)))


def inner(v6, tos, upper):
    if v6:
        return IPv6(src="fd00:10:244:1::2", dst="fd00:10:244:2::3", tc=tos, fl=0x12345, hlim=63) / upper
    return IP(src="10.244.1.2", dst="10.244.2.3", tos=tos, id=4711, flags="DF", ttl=63) / upper


def outer(v6, tos, ttl):
    if v6:
        return IPv6(src="2001:db8:77::1", dst="2001:db8:77::2", tc=tos, fl=0, hlim=ttl)
    return IP(src="192.168.77.1", dst="192.168.77.2", tos=tos, id=0, flags="DF", ttl=ttl)


def vxlan(v6, packet, *, tos=0, ttl=64, port=4789, vni=1, hash14=0, checksum=False):
    """`packet` within VXLAN; `hash14` is what a flow's hash adds to the source port."""
    frame = Ether(src=NODE_A, dst=NODE_B) / packet
    udp = UDP(sport=49152 + hash14, dport=port, **({} if checksum else {"chksum": 0}))
    return outer(v6, tos, ttl) / udp / VXLAN(flags="Instance", vni=vni) / frame


def udp(length):
    return UDP(sport=4000, dport=53) / text(length)


def tcp(length):
    return TCP(sport=40000, dport=443, seq=1, ack=2, flags="PA", options=[("Timestamp", (1, 2))]) / text(length)


CASES = []

# Every family in every family, checksum zero and computed, even and odd lengths.
for o, i, checksum, length in product((False, True), (False, True), (False, True), (0, 1, 18, 1372)):
    packet = inner(i, 0, udp(length))
    CASES.append((vxlan(o, packet, checksum=checksum, hash14=length), packet))

for o in (False, True):
    for i in (False, True):
        # TCP and ICMP, as flannel (VNI 1, port 8472) and Calico (4096, 4789) would carry them.
        ping = ICMPv6EchoRequest(id=7, seq=1) / text(56) if i else ICMP(id=7, seq=1) / text(56)
        CASES.append((vxlan(o, p := inner(i, 0, tcp(1000)), port=8472, hash14=16383), p))
        CASES.append((vxlan(o, p := inner(i, 0, ping), vni=4096, hash14=8191, checksum=o), p))
        # The ends of what fields hold.
        CASES.append((vxlan(o, p := inner(i, 0, udp(3)), vni=0, ttl=1, port=65535), p))
        CASES.append((vxlan(o, p := inner(i, 0, udp(3)), vni=0xFFFFFF, ttl=255, port=1), p))
        # ECN is copied (RFC 6040); the DSCP is (uniform) or is not (pipe, RFC 2983).
        for ecn in (ECT0, ECT1, CE):
            CASES.append((vxlan(o, p := inner(i, EF | ecn, udp(9)), tos=EF | ecn), p))
            CASES.append((vxlan(o, p := inner(i, AF11 | ecn, udp(9)), tos=ecn), p))
        # A jumbo frame, summed.
        CASES.append((vxlan(o, p := inner(i, 0, tcp(8900)), checksum=True), p))

with RawPcapWriter(str(Path(__file__).with_name("frames.pcap")), linktype=101) as pcap:
    pcap.write_header(None)
    for number, packet in enumerate(packet for case in CASES for packet in case):
        pcap.write_packet(bytes(packet), sec=number, usec=0)
print(2 * len(CASES), "packets")
