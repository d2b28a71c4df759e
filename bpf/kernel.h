/* The little of the kernel's stable ABI that our programs use, written out so that they compile with
 * clang alone: no kernel or libbpf headers needed. From include/uapi/linux/bpf.h.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define be16(x) ((u16)__builtin_bswap16(x))
#else
#define be16(x) ((u16)(x))
#endif

enum { XDP_PASS = 2 };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

/* A map is declared by the types of an anonymous struct's members, which the loader reads from BTF. */
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_XSKMAP = 17 };
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, what) typeof(what) *name

/* Helpers are called by number. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_redirect_map)(void *map, unsigned long key, unsigned long flags) = (void *)51;

/* Sockets of this device, by receive queue; the loader sets the size. */
struct {
	NUMBER(type, BPF_MAP_TYPE_XSKMAP);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u32);
} sockets SEC(".maps");

/* To the queue's socket; to the kernel where it has none. */
INLINE int to_socket(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

/* Calls no helper that the kernel keeps for GPL programs. */
char _license[] SEC("license") = "MIT";
