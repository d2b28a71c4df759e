#!/usr/bin/env python3
"""Makes frames.pcap: IP packets within IP, by scapy. See encap/tests/common/vectors.py."""

import sys
from itertools import product
from pathlib import Path

from scapy.packet import Raw

sys.path.append(str(Path(__file__).parents[3] / "tests/common"))
from vectors import AF11, CE, ECT0, ECT1, EF, inner, outer, ping, tcp, udp, write

# RFC 2473 section 4.1.1: type 4, one byte.
LIMIT = 4


def within(v6, packet, *, tos=0, ttl=64, label=0, limit=None):
    """`packet` within IP; over IPv6 with its flow's label, and with an encapsulation limit if there is one."""
    if limit is None:
        return outer(v6, tos, ttl, label) / packet
    # As bytes: scapy knows no such option. Behind it PadN with one zero.
    options = bytes([LIMIT, 1, limit, 1, 1, 0])
    number = 41 if packet.version == 6 else 4
    header = bytes([number, 0]) + options
    ip = outer(v6, tos, ttl, label)
    ip.nh = 60
    return ip / Raw(header + bytes(packet))


CASES = []

# Every family in every family, even and odd lengths.
for o, i, length in product((False, True), (False, True), (0, 1, 18, 1372)):
    packet = inner(i, 0, udp(length))
    CASES.append((within(o, packet, label=length), packet))

for o in (False, True):
    for i in (False, True):
        CASES.append((within(o, p := inner(i, 0, tcp(1000)), label=0xFFFFF), p))
        CASES.append((within(o, p := inner(i, 0, ping(i))), p))
        # The ends of what fields hold.
        CASES.append((within(o, p := inner(i, 0, udp(3)), ttl=1), p))
        CASES.append((within(o, p := inner(i, 0, udp(3)), ttl=255), p))
        # ECN is copied (RFC 6040); the DSCP is (uniform) or is not (pipe, RFC 2983).
        for ecn in (ECT0, ECT1, CE):
            CASES.append((within(o, p := inner(i, EF | ecn, udp(9)), tos=EF | ecn), p))
            CASES.append((within(o, p := inner(i, AF11 | ecn, udp(9)), tos=ecn), p))
        CASES.append((within(o, p := inner(i, 0, tcp(8900))), p))

# What Linux adds over IPv6.
for i, limit, length in product((False, True), (0, 4, 255), (0, 1, 1372)):
    CASES.append((within(True, p := inner(i, EF | CE, udp(length)), tos=EF | CE, label=7, limit=limit), p))

write(__file__, CASES)
