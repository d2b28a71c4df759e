//! The number that tells the networks of VXLAN and Geneve apart.

use std::fmt;

/// A virtual network identifier, 24 bits: RFC 7348 §5, RFC 8926 §3.4.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "i64", into = "u32")]
#[schemars(extend("minimum" = 0, "maximum" = Vni::MAX))]
pub struct Vni(u32);

impl Vni {
    /// The greatest there is.
    pub const MAX: u32 = 0x00ff_ffff;

    /// For samples.
    pub(crate) const ONE: Vni = Vni(1);
    /// See [`ONE`](Self::ONE).
    pub(crate) const LAST: Vni = Vni(Vni::MAX);

    /// The number.
    #[inline]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A number is not a VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a network identifier; expected 0 to {max}", max = Vni::MAX)]
pub struct VniError(i64);

impl TryFrom<i64> for Vni {
    type Error = VniError;

    fn try_from(number: i64) -> Result<Vni, VniError> {
        match u32::try_from(number) {
            Ok(vni) if vni <= Vni::MAX => Ok(Vni(vni)),
            _ => Err(VniError(number)),
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
