//! Takes the Geneve header off.

use super::{ETHERNET, HEADER_LEN};
use crate::tunnel::{Family, PopError, Popped, Strip};

/// The version is the first two bits, §3.4.
const VERSION: u8 = 0;
/// The length of all options, in words of four bytes, is the rest of the first byte.
const OPTIONS_LEN: u8 = 0x3f;
/// The second byte's flag of a control packet, whose payload must not be forwarded.
const FLAG_O: u8 = 0x80;
/// Its flag that says that one of the options is critical.
const FLAG_C: u8 = 0x40;

/// Bytes of an option without its data, §3.5.
const OPTION_LEN: usize = 4;
/// The bit of an option's type that says that who does not know it must drop the packet.
const CRITICAL: u8 = 0x80;
/// The bits of an option's fourth byte that say how many words of data it has.
const DATA_LEN: u8 = 0x1f;

/// Reads the header that `payload`, the UDP datagram's, begins with. Reserved bits are ignored (§3.4).
///
/// # Errors
/// [`PopError::Truncated`]; [`PopError::Version`]; [`PopError::Flags`] of a control packet or one with
/// critical options; [`PopError::Options`]; [`PopError::Payload`] when it is neither Ethernet nor IP.
#[inline]
pub(super) fn pop(payload: &[u8]) -> Result<Popped, PopError> {
    let header: &[u8; HEADER_LEN] = payload.first_chunk().ok_or(PopError::Truncated)?;
    let [first, flags, a, b, vni @ ..] = *header;
    if first >> 6 != VERSION {
        return Err(PopError::Version);
    }
    if flags & (FLAG_O | FLAG_C) != 0 {
        return Err(PopError::Flags);
    }
    let header_len = HEADER_LEN + usize::from(first & OPTIONS_LEN) * 4;
    if header_len > HEADER_LEN {
        skip(payload.get(HEADER_LEN..header_len).ok_or(PopError::Truncated)?)?;
    }
    let strip = match u16::from_be_bytes([a, b]) {
        ETHERNET => Strip::Ethernet,
        other => Strip::Ip(Family::of_ethertype(other).ok_or(PopError::Payload)?),
    };
    Ok(Popped { header_len, strip, key: u32::from_be_bytes(vni) >> 8 })
}

/// Checks that the options can all be skipped, and are as long as the header says of them.
#[inline(never)]
fn skip(mut options: &[u8]) -> Result<(), PopError> {
    // What is left is always whole words.
    while let Some(([_, _, kind, len], behind)) = options.split_first_chunk::<OPTION_LEN>() {
        if kind & CRITICAL != 0 {
            return Err(PopError::Options);
        }
        let data_len = usize::from(len & DATA_LEN) * 4;
        options = behind.get(data_len..).ok_or(PopError::Options)?;
    }
    Ok(())
}
