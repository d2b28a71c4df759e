//! The byte that IPv4 calls type of service and IPv6 traffic class, through tunnels.
//!
//! Its upper six bits (DSCP) follow one of the models of RFC 2983; its lower two (ECN) follow the
//! *normal mode* of RFC 6040, which RFC 9601 extends to tunnels with a shim header such as VXLAN.

/// The ECN bits of the byte.
pub const ECN: u8 = 0b11;
/// The sender does not understand ECN.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, the codepoint of L4S (RFC 9331).
pub const ECT1: u8 = 0b01;
/// ECN-capable.
pub const ECT0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// What becomes of the DSCP in a tunnel: the two models of RFC 2983 §3.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Dscp {
    /// Inner and outer DSCP are one: copied out when encapsulated, and back in when decapsulated.
    Uniform,
    /// They are two: the outer one is zero, the inner one passes untouched.
    #[default]
    Pipe,
}

impl Dscp {
    /// The outer byte for an inner one. ECN is copied (RFC 6040 §4.1, normal mode).
    #[inline]
    pub fn encap(self, inner: u8) -> u8 {
        match self {
            Dscp::Uniform => inner,
            Dscp::Pipe => inner & ECN,
        }
    }

    /// The byte that the inner packet continues with.
    ///
    /// # Errors
    /// As [`decap_ecn`].
    #[inline]
    pub fn decap(self, outer: u8, inner: u8) -> Result<u8, Congested> {
        let dscp = match self {
            Dscp::Uniform => outer,
            Dscp::Pipe => inner,
        };
        Ok(dscp & !ECN | decap_ecn(outer, inner)?)
    }
}

/// The underlay marked congestion on a packet whose sender does not understand the mark: dropping
/// it is the only signal that sender has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("congestion was marked on the outer header of a packet that is not ECN-capable")]
pub struct Congested;

/// The ECN bits that the inner packet continues with; both arguments may be whole bytes.
///
/// ```text
///               outer: Not-ECT   ECT(0)   ECT(1)   CE
/// inner: Not-ECT       Not-ECT   Not-ECT  Not-ECT  drop
///        ECT(0)        ECT(0)    ECT(0)   ECT(1)   CE
///        ECT(1)        ECT(1)    ECT(1)   ECT(1)   CE
///        CE            CE        CE       CE       CE
/// ```
///
/// # Errors
/// [`Congested`] where the table of RFC 6040 §4.2 says "drop".
#[inline]
pub fn decap_ecn(outer: u8, inner: u8) -> Result<u8, Congested> {
    match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => Err(Congested),
        (NOT_ECT, _) => Ok(NOT_ECT),
        (ECT0, outer @ (ECT1 | CE)) | (ECT1, outer @ CE) => Ok(outer),
        (inner, _) => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040 figure 4, read off the RFC: rows are inner, columns outer.
    #[test]
    fn ecn_follows_the_table() {
        let order = [NOT_ECT, ECT0, ECT1, CE];
        let table = [
            [Ok(NOT_ECT), Ok(NOT_ECT), Ok(NOT_ECT), Err(Congested)],
            [Ok(ECT0), Ok(ECT0), Ok(ECT1), Ok(CE)],
            [Ok(ECT1), Ok(ECT1), Ok(ECT1), Ok(CE)],
            [Ok(CE), Ok(CE), Ok(CE), Ok(CE)],
        ];
        for (inner, row) in order.into_iter().zip(table) {
            for (outer, expected) in order.into_iter().zip(row) {
                assert_eq!(
                    decap_ecn(outer, inner),
                    expected,
                    "inner {inner:02b} outer {outer:02b}"
                );
                // The DSCP next to it does not matter.
                assert_eq!(decap_ecn(outer | 0xb8, inner | 0x28), expected);
            }
        }
    }

    #[test]
    fn dscp_follows_its_model() {
        let (ef, af11) = (0xb8, 0x28);
        assert_eq!(Dscp::Uniform.encap(ef | ECT0), ef | ECT0);
        assert_eq!(Dscp::Pipe.encap(ef | ECT0), ECT0);
        assert_eq!(Dscp::Uniform.decap(af11 | CE, ef | ECT0), Ok(af11 | CE));
        assert_eq!(Dscp::Pipe.decap(af11 | CE, ef | ECT0), Ok(ef | CE));
        assert_eq!(Dscp::Pipe.decap(CE, ef), Err(Congested));
    }
}
