//! Tables: what the stages look things up in.
//!
//! A table that is part of a snapshot is immutable and behind an `Arc`; changing it means making
//! the next one, which shares with its predecessor all that did not change.

pub mod acl;
mod block;
pub mod flows;
pub mod group;
pub mod guard;
pub mod lpm;
pub mod neighbours;
pub mod rib;
pub mod slots;
#[cfg(test)]
mod tests;

pub use flows::Flows;
pub use group::{Group, Member};
pub use lpm::{Key, Lpm, NONE};
pub use rib::Rib;
pub use slots::Slots;
