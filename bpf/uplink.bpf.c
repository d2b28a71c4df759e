/* An uplink: takes the packets that the tunnels asked for, and those to pods that peers may send without
 * a tunnel; leaves all others to the kernel, among them ARP, ssh, and everything that we would have to guess
 * about: VLAN tags, and of tunnels' packets those with IPv4 options and fragments (the kernel
 * reassembles them and hands them to the tunnel's socket).
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

/* Where pods are, if packets may come to them without a tunnel. Src: `Prefix` in
 * src/io/af_xdp/program.rs.
 */
struct prefix {
	u32 length;	/* in bits; of IPv4 96 more */
	u32 address[4]; /* as above */
};

struct {
	NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	NUMBER(max_entries, 65536);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	TYPE(key, struct prefix);
	TYPE(value, u8);
} prefixes SEC(".maps");

/* Whether what starts at `l4` is in the table. */
INLINE int is_tunnels(const struct xdp_md *ctx, struct match *match, const void *l4)
{
	const struct udp *udp = l4;

	if (match->protocol == UDP) {
		if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
			return 0;
		match->port = udp->destination;
	}
	return bpf_map_lookup_elem(&matches, match) != 0;
}

INLINE int is_pods(const struct match *match)
{
	struct prefix prefix = {.length = 128};

	__builtin_memcpy(prefix.address, match->address, sizeof(prefix.address));
	return bpf_map_lookup_elem(&prefixes, &prefix) != 0;
}

INLINE int ipv4(struct xdp_md *ctx, const struct ipv4 *ip)
{
	struct match match = {};

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	((u16 *)match.address)[5] = 0xffff;
	match.address[3] = ip->destination;
	match.protocol = ip->protocol;
	if (ip->version_ihl == IPV4_WITHOUT_OPTIONS &&
	    !(ip->fragment & be16(MORE_FRAGMENTS_OR_OFFSET)) && is_tunnels(ctx, &match, ip + 1))
		return to_socket(ctx);
	return is_pods(&match) ? to_socket(ctx) : XDP_PASS;
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
			break;
		match.protocol = extension->next;
		next += 8 + 8 * extension->words;
	}
	if (is_tunnels(ctx, &match, next) || is_pods(&match))
		return to_socket(ctx);
	return XDP_PASS;
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
