//! Counting what arrives: an XDP program on the last device, which knows the frames of our senders,
//! checks that they arrive as they should, and drops them.

use super::super::arena::TUNNEL_PORT;
use super::super::{Error, Result};
use super::frames::{PORT, Side};
use super::{Point, program};
use crate::bench::arena::VNI;
use crate::bench::contender::Attachment;
use crate::io::af_xdp::attach_link;
use crate::io::{device, netns};
use crate::lab::netns as names;
use aya::include_bytes_aligned;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::XdpMode;
use aya::programs::links::FdLink;
use hdrhistogram::Histogram;

static SINK: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sink.o"));

/// `STEP_BITS` and `BUCKETS` of bpf/sink.bpf.c.
const STEP_BITS: u32 = 5;
const BUCKETS: u32 = 1024;

/// `struct wanted` of bpf/sink.bpf.c.
type Wanted = [u32; 5];

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames as they should be.
    pub frames: u64,
    /// Their bytes, all headers included.
    pub bytes: u64,
    /// Frames of a sender of ours that are not as they should be.
    pub strange: u64,
}

/// What a sink expects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    /// Which packets.
    pub(super) side: Side,
    /// Bytes of the pod's frame.
    pub(super) size: usize,
    /// Whether they are in VXLAN.
    pub(super) tunnelled: bool,
    /// What the device is.
    pub(super) attachment: Attachment,
}

impl Expect {
    fn wanted(&self) -> Wanted {
        let pair = |a: u16, b: u16| {
            let ([a, b], [c, d]) = (a.to_ne_bytes(), b.to_ne_bytes());
            u32::from_ne_bytes([a, b, c, d])
        };
        let outer = if self.tunnelled { TUNNEL_PORT.to_be() } else { 0 };
        let link = if self.attachment == Attachment::Tun { 0 } else { 14 };
        [
            u32::from_ne_bytes(self.side.from().pod.octets()),
            u32::from_ne_bytes(self.side.to().pod.octets()),
            pair(PORT.to_be(), (self.size as u16 - 14).to_be()),
            pair(outer, link),
            (VNI << 8).to_be(),
        ]
    }
}

/// A sink on a device, for as long as it is not dropped.
pub struct Sink {
    counts: PerCpuArray<MapData, [u64; 3]>,
    times: PerCpuArray<MapData, u64>,
    _link: FdLink,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sink({:?})", self.counts())
    }
}

impl Sink {
    /// Attaches one.
    pub(super) fn attach(to: &Point, expect: &Expect) -> Result<Sink> {
        let Point { netns, device } = to;
        let path = names::path(netns);
        netns::within(Some(&path), || {
            let index = device::index(device)
                .map_err(|e| Error::io(format!("find device {device} in {netns}"), e))?;
            let mut ebpf = program::load("the sink", SINK)?;
            let mut wanted: Array<_, Wanted> = program::map(&mut ebpf, "wanteds", Array::try_from);
            wanted
                .set(0, expect.wanted(), 0)
                .map_err(|e| Error::program("tell the sink what to expect", e))?;
            let counts = program::map(&mut ebpf, "all_counts", PerCpuArray::try_from);
            let times = program::map(&mut ebpf, "times", PerCpuArray::try_from);
            let mode = match expect.attachment {
                Attachment::Veth => XdpMode::Driver,
                Attachment::Tun => XdpMode::Skb,
            };
            let program = program::program(&mut ebpf, "sink")?;
            let link = attach_link(program, index, mode)
                .map_err(|e| Error::io(format!("attach the sink to {device} in {netns}"), e))?;
            Ok(Sink { counts, times, _link: link })
        })?
    }

    /// What has arrived until now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counts(&self) -> Result<Counts> {
        let values = self.counts.get(&0, 0).map_err(|e| Error::program("ask the sink", e))?;
        let sum = |field: usize| values.iter().map(|core| core[field]).sum();
        Ok(Counts { frames: sum(0), bytes: sum(1), strange: sum(2) })
    }

    /// Times of all timed frames until now, in nanoseconds.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn times(&self) -> Result<Times> {
        let bucket = |index: u32| {
            let values = self.times.get(&index, 0);
            let values = values.map_err(|e| Error::program("ask the sink for times", e))?;
            Ok(values.iter().sum())
        };
        Ok(Times((0..BUCKETS).map(bucket).collect::<Result<_>>()?))
    }
}

/// Numbers of frames by how long they were under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times(Vec<u64>);

impl Times {
    /// Those that came after `earlier`.
    pub fn since(&self, earlier: &Times) -> Histogram<u64> {
        let mut all = Histogram::new(3).expect("three digits are supported");
        for (index, (now, before)) in (0..).zip(self.0.iter().zip(&earlier.0)) {
            let (now, before): (u64, u64) = (*now, *before);
            all.record_n(value(index), now.saturating_sub(before))
                .expect("a histogram of any size grows");
        }
        all
    }
}

/// The middle of a bucket, in nanoseconds.
fn value(bucket: u32) -> u64 {
    let (row, column) = (bucket >> STEP_BITS, u64::from(bucket & ((1 << STEP_BITS) - 1)));
    match row {
        0 => column,
        row => (((1 << STEP_BITS) + column) << (row - 1)) + ((1 << (row - 1)) >> 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_their_middle_for_a_value() {
        assert_eq!(value(0), 0);
        assert_eq!(value(31), 31);
        assert_eq!(value(32), 32);
        assert_eq!(value(63), 63);
        // 64 and 65.
        assert_eq!(value(64), 65);
        assert_eq!(value(BUCKETS - 1), (63 << 30) + (1 << 29));
        assert!((1..BUCKETS).all(|bucket| value(bucket) > value(bucket - 1)));
    }
}
