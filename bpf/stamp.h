/* What a bench's frames carry, so that whoever receives one knows it, and how long it was under way. */
#pragma once
#include "headers.h"

#define STAMP_MAGIC 0x43576265 /* "CWbe" */

/* Begins a UDP datagram. In the host's byte order: both ends are on one machine. Src: `Stamp` in
 * src/bench/traffic/frames.rs.
 */
struct stamp {
	u32 magic;
	u32 number;    /* of the frame, from 0 */
	u64 scheduled; /* when it should be sent: CLOCK_MONOTONIC, ns; 0 when that does not matter */
} __attribute__((packed));

struct vxlan {
	u8 flags, zero[3];
	u32 vni; /* and eight bits of zero; network order */
} __attribute__((packed));

/* Where the stamp is behind the start of a plain frame and of one in VXLAN. */
enum {
	PLAIN = sizeof(struct ethernet) + sizeof(struct ipv4) + sizeof(struct udp),
	TUNNELLED = PLAIN + sizeof(struct vxlan) + PLAIN,
};
