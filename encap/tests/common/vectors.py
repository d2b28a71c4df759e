"""What the tunnels' generate.py share: packets by an independent implementation, scapy.

    apt-get install python3-scapy
    python3 encap/src/<tunnel>/testdata/generate.py     # writes frames.pcap, or more, beside itself

A capture holds bare IP packets (link type 101) in pairs: an outer packet, then the inner packet
that it carries. The tests take the tunnel's configuration from the outer packet, so a new case
is a line of CASES and nothing else. The output depends on nothing but these files and is committed;
it was made by scapy 2.5.0.
"""

from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw
from scapy.utils import RawPcapWriter

EF, AF11 = 0xB8, 0x28  # DSCPs, in place within the byte
ECT0, ECT1, CE = 2, 1, 3


def text(length):
    return Raw(bytes(i % 251 for i in range(length)))


def inner(v6, tos, upper):
    if v6:
        return IPv6(src="fd00:10:244:1::2", dst="fd00:10:244:2::3", tc=tos, fl=0x12345, hlim=63) / upper
    return IP(src="10.244.1.2", dst="10.244.2.3", tos=tos, id=4711, flags="DF", ttl=63) / upper


def outer(v6, tos, ttl, label=0):
    if v6:
        return IPv6(src="2001:db8:77::1", dst="2001:db8:77::2", tc=tos, fl=label, hlim=ttl)
    return IP(src="192.168.77.1", dst="192.168.77.2", tos=tos, id=0, flags="DF", ttl=ttl)


def udp(length):
    return UDP(sport=4000, dport=53) / text(length)


def tcp(length):
    return TCP(sport=40000, dport=443, seq=1, ack=2, flags="PA", options=[("Timestamp", (1, 2))]) / text(length)


def ping(v6):
    return (ICMPv6EchoRequest(id=7, seq=1) if v6 else ICMP(id=7, seq=1)) / text(56)


def write(script, cases, name="frames.pcap"):
    with RawPcapWriter(str(Path(script).with_name(name)), linktype=101) as pcap:
        pcap.write_header(None)
        for number, packet in enumerate(packet for case in cases for packet in case):
            pcap.write_packet(bytes(packet), sec=number, usec=0)
    print(2 * len(cases), "packets")
