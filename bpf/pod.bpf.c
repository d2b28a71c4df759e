/* The host's end of a pod's veth pair: all frames are ours. */
#include "socket.h"

/* "xdp.frags": takes frames of several buffers, so that the peer's MTU is not capped. */
SEC("xdp.frags")
int pod(struct xdp_md *ctx)
{
	return to_socket(ctx);
}
