//! `struct virtio_net_hdr`, which stands before every frame of a TUN or TAP device with
//! `IFF_VNET_HDR`, and what it says as [`Meta`](pipeline::frame::Meta) (virtio 1.2, §5.1.6).
//!
//! ```text
//! 0      1         2         4          6            8             10
//! | flags | gso type | hdr_len | gso_size | csum_start | csum_offset |   in host byte order
//! ```
//! Neither side trusts the other: every field is checked against the frame's bytes.

use pipeline::frame::{Frame, Gso, GsoKind, Partial};

/// Bytes of the header, without the fields that virtio 1.0 and tunnel offloads add to it.
pub(super) const LEN: usize = 10;

/// The checksum field holds the pseudo-header's sum only.
const NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

const UDP_HEADER: usize = 8;
const UDP_CHECKSUM: u16 = 6;
const TCP_HEADER: usize = 20;
const TCP_CHECKSUM: u16 = 16;
/// Byte of the TCP header whose upper half counts its 32-bit words.
const TCP_DATA_OFFSET: usize = 12;

/// The header does not fit the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

/// Tells `frame`, which came with `header` from the kernel, what it still needs.
pub(super) fn read(header: [u8; LEN], frame: &mut Frame) -> Result<(), Mismatch> {
    let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let [flags, gso_type, ..] = header;
    // `hdr_len` is a hint, which the headers themselves make superfluous.
    let (gso_size, csum_start, csum_offset) = (field(4), field(6), field(8));

    if flags & NEEDS_CSUM == 0 {
        // The kernel never leaves a super-frame's checksum complete.
        return if gso_type == GSO_NONE { Ok(()) } else { Err(Mismatch) };
    }
    let start = usize::from(csum_start);
    let field_end = start + usize::from(csum_offset) + 2;
    if start == 0 || field_end > frame.head().len() {
        return Err(Mismatch);
    }
    let kind = match gso_type {
        GSO_NONE => GsoKind::None,
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP_L4 => GsoKind::Udp,
        _ => return Err(Mismatch),
    };
    if kind != GsoKind::None {
        let headers = headers_len(frame.head(), start, kind, csum_offset).ok_or(Mismatch)?;
        if gso_size == 0 || headers >= frame.len() {
            return Err(Mismatch);
        }
        frame.meta.gso = Gso { kind, size: gso_size };
    }
    let start = frame.offset() as u16 + csum_start;
    frame.meta.partial = Partial { start, offset: csum_offset };
    Ok(())
}

/// The header that tells the kernel what `frame` still needs.
pub(super) fn write(frame: &Frame) -> Result<[u8; LEN], Mismatch> {
    let mut header = [0; LEN];
    let mut field = |at: usize, value: u16| {
        header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    };
    let (gso, partial) = (frame.meta.gso, frame.meta.partial);
    if !partial.is_pending() {
        return if gso.kind == GsoKind::None { Ok(header) } else { Err(Mismatch) };
    }
    let start = usize::from(partial.start).checked_sub(frame.offset()).ok_or(Mismatch)?;
    let field_end = start + usize::from(partial.offset) + 2;
    if field_end > frame.head().len() {
        return Err(Mismatch);
    }
    field(6, start as u16);
    field(8, partial.offset);
    let gso_type = match gso.kind {
        GsoKind::None => GSO_NONE,
        GsoKind::Tcp4 => GSO_TCPV4,
        GsoKind::Tcp6 => GSO_TCPV6,
        GsoKind::Udp => GSO_UDP_L4,
    };
    if gso.kind != GsoKind::None {
        let headers = headers_len(frame.head(), start, gso.kind, partial.offset);
        field(2, headers.ok_or(Mismatch)? as u16);
        field(4, gso.size);
    }
    header[0] = NEEDS_CSUM;
    header[1] = gso_type;
    Ok(header)
}

/// Bytes up to the end of the L4 header that starts at `start`; `None` when it is not whole in `head`
/// or its checksum is not where the protocol has it.
fn headers_len(head: &[u8], start: usize, kind: GsoKind, checksum: u16) -> Option<usize> {
    let (len, field) = match kind {
        GsoKind::Udp => (UDP_HEADER, UDP_CHECKSUM),
        _ => (usize::from(head.get(start + TCP_DATA_OFFSET)? >> 4) * 4, TCP_CHECKSUM),
    };
    let whole = start + len <= head.len() && (kind == GsoKind::Udp || len >= TCP_HEADER);
    (whole && checksum == field).then_some(start + len)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use pipeline::frame::{Memory, Pool};
    use pipeline::snapshot::PortId;
    use proptest::prelude::*;

    /// An IPv4 TCP frame of `len` bytes: the data offset is all that is looked at.
    fn frame(pool: &mut Pool, len: usize) -> Frame {
        let mut frame = Frame::alloc(pool, PortId(0)).unwrap();
        let bytes = frame.append(len).unwrap();
        bytes.fill(0);
        if let Some(byte) = bytes.get_mut(20 + TCP_DATA_OFFSET) {
            *byte = 8 << 4;
        }
        frame
    }

    fn pool() -> Pool {
        Pool::new(Memory::new(64, false).unwrap())
    }

    fn header(flags: u8, kind: u8, fields: [u16; 4]) -> [u8; LEN] {
        let mut header = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (i, field) in fields.iter().enumerate() {
            header[2 + 2 * i..4 + 2 * i].copy_from_slice(&field.to_ne_bytes());
        }
        header
    }

    #[test]
    fn a_super_frame_there_and_back() {
        let mut pool = pool();
        let mut frame = frame(&mut pool, 1500);
        let said = header(NEEDS_CSUM, GSO_TCPV4, [52, 700, 20, 16]);
        read(said, &mut frame).unwrap();
        assert_eq!(frame.meta.gso, Gso { kind: GsoKind::Tcp4, size: 700 });
        assert_eq!(frame.meta.partial, Partial { start: frame.offset() as u16 + 20, offset: 16 });
        assert_eq!(write(&frame), Ok(said));
        // With an Ethernet header in front all offsets of the kernel's header move.
        frame.push(14).unwrap();
        assert_eq!(write(&frame), Ok(header(NEEDS_CSUM, GSO_TCPV4, [66, 700, 34, 16])));
        // Without the IP header the checksum would start before the frame.
        assert!(frame.pop(35));
        assert_eq!(write(&frame), Err(Mismatch));
        frame.free(&mut pool);
    }

    #[test]
    fn lies_are_found() {
        let mut pool = pool();
        let cases = [
            ("super-frame with a complete sum", header(0, GSO_TCPV4, [52, 700, 20, 16])),
            ("no segment size", header(NEEDS_CSUM, GSO_TCPV4, [52, 0, 20, 16])),
            ("sum of the frame's start", header(NEEDS_CSUM, GSO_NONE, [0, 0, 0, 16])),
            ("sum behind the end", header(NEEDS_CSUM, GSO_NONE, [0, 0, 98, 1])),
            ("far behind the end", header(NEEDS_CSUM, GSO_NONE, [0, 0, u16::MAX, u16::MAX])),
            ("TCP's field elsewhere", header(NEEDS_CSUM, GSO_TCPV4, [52, 700, 20, 6])),
            ("UDP's field elsewhere", header(NEEDS_CSUM, GSO_UDP_L4, [28, 700, 20, 16])),
            ("a TCP header of no length", header(NEEDS_CSUM, GSO_TCPV6, [60, 700, 40, 16])),
            ("UDP fragmentation offload", header(NEEDS_CSUM, 3, [28, 700, 20, 6])),
            ("an unknown kind", header(NEEDS_CSUM, 77, [28, 700, 20, 6])),
        ];
        for (what, header) in cases {
            let mut frame = frame(&mut pool, 100);
            assert_eq!(read(header, &mut frame), Err(Mismatch), "{what}");
            frame.free(&mut pool);
        }
    }

    proptest! {
        #[test]
        fn what_was_read_can_be_written(header: [u8; LEN], kind in 0u8..6, len in 0usize..200) {
            let mut pool = pool();
            let mut frame = frame(&mut pool, len);
            let header = [header[0] & 1, kind, header[2], 0, header[4], 0, header[6], 0, header[8], 0];
            if read(header, &mut frame).is_ok() {
                let written = write(&frame);
                prop_assert!(written.is_ok());
                let written = written.unwrap();
                prop_assert_eq!(&written[..2], &header[..2]);
                if header[0] != 0 {
                    prop_assert_eq!(&written[6..], &header[6..]);
                }
            }
            frame.free(&mut pool);
        }
    }
}
