/* Handing frames over to AF_XDP. */
#pragma once
#include "kernel.h"

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
