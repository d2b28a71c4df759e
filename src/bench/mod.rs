//! The harness: how fast it is, against what, and why, so that anyone can repeat it.
//!
//! ```text
//! cableway bench pipeline   in memory: stages, tunnels, tables
//! cableway bench lab        one router between a sender and a sink: rates, losses, latency, CPU time
//! cableway bench compare    the same way with the kernel's tunnels and others in our place, in turn
//! ```
//!
//! All of them fill one [`report::Report`]: a table for people, JSON for programs, and a page.
//! What two things differ by is judged by pairs that were measured right after each other, since a
//! machine's speed changes by more from minute to minute than most things differ by; see [`stats`].

pub mod allocations;
pub mod arena;
pub mod compare;
pub mod contender;
pub mod cpu;
mod error;
pub mod lab;
pub mod latency;
pub mod machine;
pub mod page;
pub mod pipeline;
pub mod rate;
pub mod report;
pub mod stats;
pub mod traffic;

pub use error::{Error, Result};
