/* Headers as they are on the wire. */
#pragma once
#include "kernel.h"

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	MORE_FRAGMENTS_OR_OFFSET = 0x3fff,
	IPV4_WITHOUT_OPTIONS = 0x45,
	UDP = 17,
};

struct ethernet {
	u8 destination[6], source[6];
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_ihl, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 source, destination;
} __attribute__((packed));

struct udp {
	u16 source, destination, length, checksum;
} __attribute__((packed));
