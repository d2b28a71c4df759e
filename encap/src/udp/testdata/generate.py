#!/usr/bin/env python3
"""Makes frames.pcap: IP packets within UDP, by scapy. See encap/tests/common/vectors.py."""

import sys
from itertools import product
from pathlib import Path

from scapy.layers.inet import UDP

sys.path.append(str(Path(__file__).parents[3] / "tests/common"))
from vectors import AF11, CE, ECT0, ECT1, EF, inner, outer, ping, tcp, udp, write


def within(v6, packet, *, tos=0, ttl=64, port=8285, hash14=0, checksum=False):
    """`packet` within UDP; `hash14` is what a flow's hash adds to the source port."""
    udp = UDP(sport=49152 + hash14, dport=port, **({} if checksum else {"chksum": 0}))
    return outer(v6, tos, ttl) / udp / packet


CASES = []

# Every family in every family, checksum zero and computed, even and odd lengths.
for o, i, checksum, length in product((False, True), (False, True), (False, True), (0, 1, 18, 1372)):
    packet = inner(i, 0, udp(length))
    CASES.append((within(o, packet, checksum=checksum, hash14=length), packet))

for o in (False, True):
    for i in (False, True):
        CASES.append((within(o, p := inner(i, 0, tcp(1000)), hash14=16383), p))
        CASES.append((within(o, p := inner(i, 0, ping(i)), hash14=8191, checksum=o), p))
        # The ends of what fields hold.
        CASES.append((within(o, p := inner(i, 0, udp(3)), ttl=1, port=65535), p))
        CASES.append((within(o, p := inner(i, 0, udp(3)), ttl=255, port=1), p))
        # ECN is copied (RFC 6040); the DSCP is (uniform) or is not (pipe, RFC 2983).
        for ecn in (ECT0, ECT1, CE):
            CASES.append((within(o, p := inner(i, EF | ecn, udp(9)), tos=EF | ecn), p))
            CASES.append((within(o, p := inner(i, AF11 | ecn, udp(9)), tos=ecn), p))
        # A jumbo frame, summed.
        CASES.append((within(o, p := inner(i, 0, tcp(8900)), checksum=True), p))

write(__file__, CASES)
