/* A bench's sender: BPF_PROG_TEST_RUN runs it for one frame after the other and does what it returns,
 * so that the frames enter the device behind ours as if they had been received.
 *
 * All headers are written anew each time: the frames' memory is used again, and the kernel's routers
 * change what they forward in place.
 */
#include "stamp.h"

/* What to send. Src: `Job` in src/bench/traffic/live.rs. */
struct job {
	u64 time;	 /* for how long, in ns, if paced */
	u64 interval;	 /* between frames, in 1/65536 ns; 0: as fast as can be */
	u32 device;	 /* index of the device to send from */
	u32 flows;	 /* source ports */
	u64 headers[12]; /* what all frames start with; TUNNELLED bytes at most */
};

/* How far it is. Src: `Progress`, likewise. */
struct progress {
	u64 sent;
	u64 start; /* of the pace: when it was run first; CLOCK_MONOTONIC, ns */
	u64 due;   /* of the next frame after the start, in 1/65536 ns */
	u64 flow;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct job);
} jobs SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct progress);
} progresses SEC(".maps");

enum { FIRST_PORT = 1024, FIRST_OUTER_PORT = 49152, OUTER_PORTS = 16384 };

/* `length`: of the headers, a constant, so that their copy is a few instructions. */
INLINE void write_headers(u8 *frame, const struct job *job, u64 flow, const u32 length)
{
	const u32 words = length / 8, outer = sizeof(struct ethernet) + sizeof(struct ipv4);

#pragma unroll
	for (u32 i = 0; i < words; i++)
		((u64 *)frame)[i] = job->headers[i];
	if (length % 8 == 4)
		((u32 *)frame)[2 * words] = job->headers[words];
	if (length % 8 == 2)
		((u16 *)frame)[4 * words] = job->headers[words];
	if (length == TUNNELLED)
		*(u16 *)(frame + outer) = be16(FIRST_OUTER_PORT + flow % OUTER_PORTS);
	*(u16 *)(frame + length - sizeof(struct udp)) = be16(FIRST_PORT + flow);
}

INLINE int send(struct xdp_md *ctx, const u32 length)
{
	const u32 zero = 0;
	const struct job *job = bpf_map_lookup_elem(&jobs, &zero);
	struct progress *progress = bpf_map_lookup_elem(&progresses, &zero);
	u8 *frame = (void *)(long)ctx->data;
	struct stamp *stamp = (void *)(frame + length);
	u64 scheduled = 0;

	if (!job || !progress || (void *)(stamp + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	if (job->interval) {
		u64 now = bpf_ktime_get_ns();

		/* To drop is to wait: it costs little and the frame comes back at once. */
		if (!progress->start)
			progress->start = now;
		scheduled = progress->start + (progress->due >> 16);
		if (now < scheduled || now - progress->start >= job->time)
			return XDP_DROP;
		progress->due += job->interval;
	}
	write_headers(frame, job, progress->flow, length);
	stamp->magic = STAMP_MAGIC;
	stamp->number = progress->sent++;
	stamp->scheduled = scheduled;
	if (++progress->flow >= job->flows)
		progress->flow = 0;
	return bpf_redirect(job->device, 0);
}

SEC("xdp")
int plain(struct xdp_md *ctx)
{
	return send(ctx, PLAIN);
}

SEC("xdp")
int tunnelled(struct xdp_md *ctx)
{
	return send(ctx, TUNNELLED);
}
