//! The macro behind the list of tunnels in `lib.rs`.

/// Declares the tunnels: for each `folder => Variant` a module, and a variant of every type that
/// must know them all. The folder's module provides `Config`, `Tunnel` and `Encap`, as
/// [`tunnel`](crate::tunnel) says.
macro_rules! tunnels {
    ($($folder:ident => $Variant:ident,)+) => {
        $(pub mod $folder;)+

        /// The tunnels there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = concat!("See [`", stringify!($folder), "`].")] $Variant,)+ }

        impl Kind {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Kind] = &[$(Kind::$Variant,)+];

            /// The name in configs: `[[tunnel.<name>]]`.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$Variant => stringify!($folder),)+ }
            }
        }

        /// The `[tunnel]` section of a config: any number of tunnels of each kind.
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Configs {
            $(#[doc = concat!("`[[tunnel.", stringify!($folder), "]]`")]
              pub $folder: Vec<$folder::Config>,)+
        }

        impl Configs {
            /// Every configured tunnel with its name, in the order of the list.
            pub fn tunnels(&self) -> impl Iterator<Item = (&str, Tunnel)> {
                std::iter::empty()
                    $(.chain(self.$folder.iter().map(|c| {
                        (c.name.as_str(), Tunnel::$Variant($folder::Tunnel::new(c)))
                    })))+
            }
        }

        impl Configs {
            /// Tunnels of every kind that between them use every option: what laws, fuzzing and
            /// benches run on.
            pub fn samples() -> Configs {
                Configs { $($folder: $folder::Config::samples(),)+ }
            }
        }

        /// A configured encapsulation.
        #[derive(Clone, Debug)]
        pub enum Tunnel { $(#[doc = concat!("See [`", stringify!($folder), "`].")] $Variant($folder::Tunnel),)+ }

        impl Tunnel {
            /// Which kind it is.
            pub fn kind(&self) -> Kind { match self { $(Tunnel::$Variant(_) => Kind::$Variant,)+ } }

            /// Which packets of an uplink are this tunnel's: all that are of one of these.
            pub fn steers(&self) -> Vec<Steer> { match self { $(Tunnel::$Variant(t) => t.steers(),)+ } }

            /// The network it carries (VNI), zero where the kind has none. Two tunnels that share a
            /// [`Steer`] must differ in it.
            pub fn key(&self) -> u32 { match self { $(Tunnel::$Variant(t) => t.key(),)+ } }

            /// Whether what it sends are Ethernet frames, and not IP packets.
            pub fn carries_ethernet(&self) -> bool {
                match self { $(Tunnel::$Variant(t) => t.carries_ethernet(),)+ }
            }

            /// The MAC that inner Ethernet frames to us carry, where the kind has such frames and
            /// the config names one.
            pub fn mac(&self) -> Option<wire::Mac> { match self { $(Tunnel::$Variant(t) => t.mac(),)+ } }

            /// Takes a packet apart that came `by` one of its [`steers`](Self::steers): `payload` starts
            /// behind the outer UDP header, or behind the outer IP header and its extension headers.
            #[inline]
            pub fn pop(&self, by: Steer, payload: &[u8]) -> Result<Popped, PopError> {
                match self { $(Tunnel::$Variant(t) => t.pop(by, payload),)+ }
            }

            /// DSCP and ECN (as IPv4 TOS or IPv6 traffic class) that a decapsulated packet
            /// continues with, given its outer and its inner ones.
            ///
            /// # Errors
            /// [`Congested`](tos::Congested) when the packet must be dropped.
            #[inline]
            pub fn decap_tos(&self, outer: u8, inner: u8) -> Result<u8, tos::Congested> {
                match self { $(Tunnel::$Variant(t) => t.decap_tos(outer, inner),)+ }
            }

            /// This tunnel towards one peer.
            ///
            /// # Panics
            /// When the ends are of different families.
            pub fn encap(&self, ends: &Ends) -> Encap {
                match self { $(Tunnel::$Variant(t) => Encap::$Variant(t.encap(ends)),)+ }
            }
        }

        /// A tunnel towards one peer, its headers ready.
        #[derive(Clone, Debug)]
        pub enum Encap { $(#[doc = concat!("See [`", stringify!($folder), "`].")] $Variant($folder::Encap),)+ }

        impl Encap {
            /// Bytes that `push` writes: from the outer IP header to the inner IP header.
            #[inline]
            pub fn overhead(&self) -> usize { match self { $(Encap::$Variant(e) => e.overhead(),)+ } }

            /// Family of the outer packet.
            #[inline]
            pub fn family(&self) -> Family { match self { $(Encap::$Variant(e) => e.family(),)+ } }

            /// Writes the outer headers into `room`, which is exactly [`overhead`](Self::overhead)
            /// bytes and ends where the inner IP header begins. An outer UDP checksum that is to
            /// be computed is left as the folded pseudo-header sum; see
            /// [`checksum_offset`](Self::checksum_offset).
            ///
            /// # Panics
            /// When `room` is of another length.
            #[inline(always)]
            pub fn push(&self, room: &mut [u8], inner: &Inner) {
                match self { $(Encap::$Variant(e) => e.push(room, inner),)+ }
            }

            /// Where in the pushed headers the outer L4 checksum covers from, and where its field
            /// is, both from the outer IP header's first byte; `None` when it stays zero.
            #[inline]
            pub fn checksum_offset(&self) -> Option<(usize, usize)> {
                match self { $(Encap::$Variant(e) => e.checksum_offset(),)+ }
            }

            /// Rewrites the lengths in outer headers made by [`push`](Self::push), and what depends
            /// on them, for an inner packet of `inner_len` bytes: for the segments of a super-frame.
            #[inline]
            pub fn resize(&self, outer: &mut [u8], inner_len: usize) {
                match self { $(Encap::$Variant(e) => e.resize(outer, inner_len),)+ }
            }
        }
    };
}
