/* An uplink: takes the packets that the tunnels asked for and leaves all others to the kernel, among
 * them ARP, ssh, and everything that we would have to guess about: VLAN tags, IPv4 options, fragments
 * (the kernel reassembles them and hands them to the tunnel's socket).
 */
#include "headers.h"
#include "socket.h"

enum { HOP_BY_HOP = 0, ROUTING = 43, DESTINATION = 60 };

/* IPv6 extension headers that are walked; a packet with more is left to the kernel. */
enum { EXTENSIONS = 4 };

struct ipv6 {
	u8 version_class_label[4];
	u16 length;
	u8 next, hop_limit;
	u32 source[4], destination[4];
} __attribute__((packed));

struct extension {
	u8 next, words; /* of 8 bytes, the first not counted */
	u8 rest[6];
} __attribute__((packed));

/* What a tunnel asks for. Src: `Match` in src/io/af_xdp/program.rs. */
struct match {
	u32 address[4]; /* ours; IPv4 as ::ffff:a.b.c.d; network order */
	u16 port;	/* UDP's destination, network order; else 0 */
	u8 protocol;
	u8 zero;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, 1024);
	TYPE(key, struct match);
	TYPE(value, u8);
} matches SEC(".maps");

/* Looks for what starts at `l4` in the table. */
INLINE int decide(struct xdp_md *ctx, struct match *match, const void *l4)
{
	const struct udp *udp = l4;

	if (match->protocol == UDP) {
		if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
			return XDP_PASS;
		match->port = udp->destination;
	}
	return bpf_map_lookup_elem(&matches, match) ? to_socket(ctx) : XDP_PASS;
}

INLINE int ipv4(struct xdp_md *ctx, const struct ipv4 *ip)
{
	struct match match = {};

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (ip->version_ihl != IPV4_WITHOUT_OPTIONS)
		return XDP_PASS;
	if (ip->fragment & be16(MORE_FRAGMENTS_OR_OFFSET))
		return XDP_PASS;
	((u16 *)match.address)[5] = 0xffff;
	match.address[3] = ip->destination;
	match.protocol = ip->protocol;
	return decide(ctx, &match, ip + 1);
}

INLINE int ipv6(struct xdp_md *ctx, const struct ipv6 *ip)
{
	const void *end = (void *)(long)ctx->data_end;
	const void *next = ip + 1;
	struct match match = {};

	if (next > end)
		return XDP_PASS;
	match.protocol = ip->next;
	__builtin_memcpy(match.address, ip->destination, sizeof(match.address));
#pragma unroll
	for (int i = 0; i < EXTENSIONS; i++) {
		const struct extension *extension = next;

		if (match.protocol != HOP_BY_HOP && match.protocol != ROUTING &&
		    match.protocol != DESTINATION)
			break;
		if ((void *)(extension + 1) > end)
			return XDP_PASS;
		match.protocol = extension->next;
		next += 8 + 8 * extension->words;
	}
	return decide(ctx, &match, next);
}

SEC("xdp.frags")
int uplink(struct xdp_md *ctx)
{
	const struct ethernet *ethernet = (void *)(long)ctx->data;

	if ((void *)(ethernet + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	switch (ethernet->type) {
	case be16(ETHERTYPE_IPV4):
		return ipv4(ctx, (void *)(ethernet + 1));
	case be16(ETHERTYPE_IPV6):
		return ipv6(ctx, (void *)(ethernet + 1));
	default:
		return XDP_PASS;
	}
}
