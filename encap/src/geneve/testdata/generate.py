#!/usr/bin/env python3
"""Makes frames.pcap and options.pcap: Geneve packets by scapy. See encap/tests/common/vectors.py."""

import sys
from itertools import product
from pathlib import Path

from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

sys.path.append(str(Path(__file__).parents[3] / "tests/common"))
from vectors import AF11, CE, ECT0, ECT1, EF, inner, outer, ping, tcp, udp, write

NODE_A, NODE_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ETHERNET, IPV4, IPV6 = 0x6558, 0x0800, 0x86DD


def geneve(v6, packet, *, tos=0, ttl=64, port=6081, vni=1, hash14=0, checksum=False, bare=False, options=()):
    """`packet` within Geneve; `hash14` is what a flow's hash adds to the source port."""
    proto = {4: IPV4, 6: IPV6}[packet.version] if bare else ETHERNET
    # scapy 2.5.0 loses a bit of the length when it computes it.
    words = sum(map(len, options)) // 4
    header = GENEVE(vni=vni, proto=proto, options=list(options), optionlen=words)
    udp = UDP(sport=49152 + hash14, dport=port, **({} if checksum else {"chksum": 0}))
    frame = packet if bare else Ether(src=NODE_A, dst=NODE_B) / packet
    return outer(v6, tos, ttl) / udp / header / frame


def option(words, kind=0, classid=0x0102, reserved=0):
    data = bytes((kind + i) % 256 for i in range(4 * words))
    return GeneveOptions(classid=classid, type=kind, reserved=reserved, data=data)


CASES = []

# Every family in every family, with and without Ethernet, checksum zero and computed, even and odd lengths.
for o, i, bare, checksum, length in product(*4 * [(False, True)], (0, 1, 18, 1372)):
    packet = inner(i, 0, udp(length))
    CASES.append((geneve(o, packet, bare=bare, checksum=checksum, hash14=length), packet))

for o, i, bare in product(*3 * [(False, True)]):
    CASES.append((geneve(o, p := inner(i, 0, tcp(1000)), bare=bare, hash14=16383), p))
    CASES.append((geneve(o, p := inner(i, 0, ping(i)), bare=bare, vni=4096, hash14=8191, checksum=o), p))
    # The ends of what fields hold.
    CASES.append((geneve(o, p := inner(i, 0, udp(3)), bare=bare, vni=0, ttl=1, port=65535), p))
    CASES.append((geneve(o, p := inner(i, 0, udp(3)), bare=bare, vni=0xFFFFFF, ttl=255, port=1), p))
    # ECN is copied (RFC 6040); the DSCP is (uniform) or is not (pipe, RFC 2983).
    for ecn in (ECT0, ECT1, CE):
        CASES.append((geneve(o, p := inner(i, EF | ecn, udp(9)), bare=bare, tos=EF | ecn), p))
        CASES.append((geneve(o, p := inner(i, AF11 | ecn, udp(9)), bare=bare, tos=ecn), p))
    # A jumbo frame, summed.
    CASES.append((geneve(o, p := inner(i, 0, tcp(8900)), bare=bare, checksum=True), p))

write(__file__, CASES)

# What we never send, but take: options that need not be understood, up to all that a header can have.
OPTIONS = [
    [option(0)],
    [option(1, kind=0x7F, classid=0xFFFF, reserved=7)],
    [option(31)],
    [option(0), option(0), option(2)],
    [option(3), option(0), option(31)],
    [option(0)] * 63,
    [option(31), option(30)],
    [option(14)] * 4 + [option(2)],
]

CASES = []

for o, i, bare, options in product(*3 * [(False, True)], OPTIONS):
    packet = inner(i, 0, udp(100))
    CASES.append((geneve(o, packet, bare=bare, vni=0x123456, checksum=o, options=options), packet))

write(__file__, CASES, "options.pcap")
