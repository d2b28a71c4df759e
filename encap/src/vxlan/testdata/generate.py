#!/usr/bin/env python3
"""Makes frames.pcap: VXLAN packets by scapy. See encap/tests/common/vectors.py."""

import sys
from itertools import product
from pathlib import Path

from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

sys.path.append(str(Path(__file__).parents[3] / "tests/common"))
from vectors import AF11, CE, ECT0, ECT1, EF, inner, outer, ping, tcp, udp, write

NODE_A, NODE_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def vxlan(v6, packet, *, tos=0, ttl=64, port=4789, vni=1, hash14=0, checksum=False):
    """`packet` within VXLAN; `hash14` is what a flow's hash adds to the source port."""
    frame = Ether(src=NODE_A, dst=NODE_B) / packet
    udp = UDP(sport=49152 + hash14, dport=port, **({} if checksum else {"chksum": 0}))
    return outer(v6, tos, ttl) / udp / VXLAN(flags="Instance", vni=vni) / frame


CASES = []

# Every family in every family, checksum zero and computed, even and odd lengths.
for o, i, checksum, length in product((False, True), (False, True), (False, True), (0, 1, 18, 1372)):
    packet = inner(i, 0, udp(length))
    CASES.append((vxlan(o, packet, checksum=checksum, hash14=length), packet))

for o in (False, True):
    for i in (False, True):
        # TCP and ICMP, as flannel (VNI 1, port 8472) and Calico (4096, 4789) would carry them.
        CASES.append((vxlan(o, p := inner(i, 0, tcp(1000)), port=8472, hash14=16383), p))
        CASES.append((vxlan(o, p := inner(i, 0, ping(i)), vni=4096, hash14=8191, checksum=o), p))
        # The ends of what fields hold.
        CASES.append((vxlan(o, p := inner(i, 0, udp(3)), vni=0, ttl=1, port=65535), p))
        CASES.append((vxlan(o, p := inner(i, 0, udp(3)), vni=0xFFFFFF, ttl=255, port=1), p))
        # ECN is copied (RFC 6040); the DSCP is (uniform) or is not (pipe, RFC 2983).
        for ecn in (ECT0, ECT1, CE):
            CASES.append((vxlan(o, p := inner(i, EF | ecn, udp(9)), tos=EF | ecn), p))
            CASES.append((vxlan(o, p := inner(i, AF11 | ecn, udp(9)), tos=ecn), p))
        # A jumbo frame, summed.
        CASES.append((vxlan(o, p := inner(i, 0, tcp(8900)), checksum=True), p))

write(__file__, CASES)
