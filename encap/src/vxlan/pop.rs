//! Takes the VXLAN header off.

use super::{FLAG_I, GroupPolicy, HEADER_LEN};
use crate::tunnel::{PopError, Popped, Strip};

/// The flag of the Generic Protocol Extension that says that the header's fourth byte names the
/// payload: draft-ietf-nvo3-vxlan-gpe §3.1.
const FLAG_P: u8 = 0x04;

/// The flag that says that there is a group policy: draft-smith-vxlan-group-policy §2.1.
const FLAG_G: u8 = 0x80;

/// Reads the header that `payload`, the UDP datagram's, begins with.
///
/// Reserved bits are ignored, as RFC 7348 §5 demands; among them the G bit and the group of VXLAN
/// Group Policy, unless they are to be refused: the payload is an Ethernet frame all the same. The P bit is
/// not: behind it a bare IP packet may stand, which must not be read as an Ethernet frame.
///
/// # Errors
/// [`PopError::Truncated`]; [`PopError::Flags`] when there is no VNI, or a policy that is refused;
/// [`PopError::Payload`].
#[inline]
pub(super) fn pop(payload: &[u8], group_policy: GroupPolicy) -> Result<Popped, PopError> {
    let header: &[u8; HEADER_LEN] = payload.first_chunk().ok_or(PopError::Truncated)?;
    let [flags, _, _, _, vni @ ..] = *header;
    if flags & FLAG_I == 0 {
        return Err(PopError::Flags);
    }
    if flags & FLAG_P != 0 {
        return Err(PopError::Payload);
    }
    if flags & FLAG_G != 0 && group_policy == GroupPolicy::Refuse {
        return Err(PopError::Flags);
    }
    let key = u32::from_be_bytes(vni) >> 8;
    Ok(Popped { header_len: HEADER_LEN, strip: Strip::Ethernet, key })
}
