#!/usr/bin/env python3
"""Writes policy.toml: ten thousand rules for one pod, as a large cluster's policies might come to.

A third each is about prefixes (some with exceptions), about sets, and about ports alone; what is about
addresses is mostly about ports, too. Nothing depends on anything but the seed.
"""

import random
from pathlib import Path

RULES, SETS, EACH = 10_000, 200, 100
random.seed(1)


def prefix():
    """Of either family, short and long ones."""
    if random.random() < 0.8:
        length = random.choice([8, 12, 16, 20, 24, 24, 24, 28, 32, 32])
        bits = random.getrandbits(32) & (2**32 - 2 ** (32 - length))
        return ".".join(str(bits >> s & 255) for s in (24, 16, 8, 0)) + f"/{length}", length
    length = random.choice([48, 64, 64, 128])
    bits = (0x2001 << 112 | random.getrandbits(112)) & (2**128 - 2 ** (128 - length))
    words = [f"{bits >> s & 0xffff:x}" for s in range(112, -16, -16)]
    return ":".join(words) + f"/{length}", length


def within(outer, length):
    """A longer prefix with the same start, of IPv4."""
    address, _ = outer.split("/")
    return f"{address}/{min(32, length + 4)}"


def party():
    if random.random() < 0.5:
        return f'set = "s{random.randrange(SETS)}"'
    outer, length = prefix()
    if "." in outer and length < 28 and random.random() < 0.3:
        return f'prefix = "{outer}", except = ["{within(outer, length)}"]'
    return f'prefix = "{outer}"'


def service():
    protocol = random.choice(["tcp", "tcp", "tcp", "udp"])
    port = random.randrange(1, 60_000)
    end = f", end-port = {port + random.randrange(1, 1000)}" if random.random() < 0.2 else ""
    return f'ports = [{{ protocol = "{protocol}", port = {port}{end} }}]'


def rule():
    kind = random.randrange(3)
    parts = [] if kind == 2 else [f"to = [{{ {party()} }}]"]
    if kind == 2 or random.random() < 0.8:
        parts.append(service())
    if random.random() < 0.3:
        parts.insert(0, 'action = "deny"')
    return f"    {{ {', '.join(parts)} }},"


lines = ["# Made by generate.py: ten thousand rules for the pod `a1`, for `make bench`.", ""]
for number in range(SETS):
    prefixes = ", ".join(f'"{prefix()[0]}"' for _ in range(random.randrange(1, 60)))
    lines += ["[[set]]", f'name = "s{number}"', f"prefixes = [{prefixes}]", ""]
for number in range(RULES // EACH):
    lines += ["[[policy]]", f'name = "p{number:03}"', 'applies-to = [{ labels = "app=bench" }]', "egress = ["]
    lines += [rule() for _ in range(EACH)]
    lines += ["]", ""]
Path(__file__).with_name("policy.toml").write_text("\n".join(lines))
