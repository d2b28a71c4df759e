/* A bench's sink: counts the frames that a sender of ours sent and that arrived as they should, takes
 * the time they needed, and drops them. All others pass.
 */
#include "stamp.h"

/* What should arrive. Src: `Wanted` in src/bench/traffic/sink.rs. */
struct wanted {
	u32 source, destination; /* of the packet sent, network order */
	u16 port;		 /* UDP's destination, network order */
	u16 length;		 /* of the packet, network order */
	u16 outer_port;		 /* of the VXLAN packet around it, network order; 0: there is none */
	u16 link;		 /* length of the link-layer header */
	u32 vni;		 /* as in the VXLAN header */
};

/* Src: `Counts`, likewise. */
struct counts {
	u64 packets;
	u64 bytes;   /* of whole frames, as they arrived */
	u64 strange; /* stamped by a sender of ours, and not as they should be */
};

/* Times, in buckets whose width is at most 1/32 of what is in them. Src: `value` in
 * src/bench/traffic/sink.rs.
 */
enum { STEP_BITS = 5, TOP_BIT = 36, BUCKETS = (TOP_BIT - STEP_BITS + 1) << STEP_BITS };

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct wanted);
} wanteds SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct counts);
} all_counts SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, BUCKETS);
	TYPE(key, u32);
	TYPE(value, u64);
} times SEC(".maps");

/* The number of the highest bit that is set in `value`, below 2^TOP_BIT. */
INLINE u32 highest_bit(u64 value)
{
	u32 bit = 0;

#pragma unroll
	for (u32 step = 32; step; step /= 2) {
		if (value >> step) {
			value >>= step;
			bit += step;
		}
	}
	return bit;
}

INLINE void record(u64 scheduled)
{
	u64 now = bpf_ktime_get_ns(), time = now > scheduled ? now - scheduled : 0, *count;
	u32 bucket = time;

	if (time >> TOP_BIT)
		time = (1ull << TOP_BIT) - 1;
	if (time >> STEP_BITS) {
		u32 shift = highest_bit(time) - STEP_BITS;

		bucket = ((shift + 1) << STEP_BITS) | (time >> shift & ((1 << STEP_BITS) - 1));
	}
	count = bpf_map_lookup_elem(&times, &bucket);
	if (count)
		++*count;
}

/* Whether it is a plain packet to that UDP port. */
INLINE int is_udp(const struct ipv4 *ip, const void *end, u16 port)
{
	const struct udp *udp = (void *)(ip + 1);

	return (void *)(udp + 1) <= end && ip->version_ihl == IPV4_WITHOUT_OPTIONS &&
	       ip->protocol == UDP && !(ip->fragment & be16(MORE_FRAGMENTS_OR_OFFSET)) &&
	       udp->destination == port;
}

/* What stands before the packet within a packet. */
struct tunnel {
	struct ipv4 ip;
	struct udp udp;
	struct vxlan vxlan;
	struct ethernet ethernet;
} __attribute__((packed));

/* Whether it is a packet of our tunnel, with a packet within. */
INLINE int is_tunnel(const struct tunnel *tunnel, const void *end, const struct wanted *wanted)
{
	return (void *)(tunnel + 1) <= end && is_udp(&tunnel->ip, end, wanted->outer_port) &&
	       tunnel->vxlan.flags == 8 && tunnel->vxlan.vni == wanted->vni &&
	       tunnel->ethernet.type == be16(ETHERTYPE_IPV4);
}

SEC("xdp.frags")
int sink(struct xdp_md *ctx)
{
	const u32 zero = 0;
	const struct wanted *wanted = bpf_map_lookup_elem(&wanteds, &zero);
	struct counts *counts = bpf_map_lookup_elem(&all_counts, &zero);
	const void *start = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct ethernet *ethernet = start;
	const struct ipv4 *ip = start;
	const struct stamp *stamp;

	if (!wanted || !counts)
		return XDP_PASS;
	if (wanted->link) {
		if ((void *)(ethernet + 1) > end || ethernet->type != be16(ETHERTYPE_IPV4))
			return XDP_PASS;
		ip = (void *)(ethernet + 1);
	}
	if (wanted->outer_port) {
		if (!is_tunnel((void *)ip, end, wanted))
			return XDP_PASS;
		ip = (void *)ip + sizeof(struct tunnel);
	}
	stamp = (void *)(ip + 1) + sizeof(struct udp);
	if ((void *)(stamp + 1) > end || !is_udp(ip, end, wanted->port) ||
	    stamp->magic != STAMP_MAGIC)
		return XDP_PASS;
	if (ip->source != wanted->source || ip->destination != wanted->destination ||
	    ip->length != wanted->length || (void *)ip + be16(ip->length) > end) {
		counts->strange++;
		return XDP_DROP;
	}
	counts->packets++;
	counts->bytes += end - start;
	if (stamp->scheduled)
		record(stamp->scheduled);
	return XDP_DROP;
}
