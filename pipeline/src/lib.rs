//! Decisions: frames, tables and stages, without the machine.
//!
//! ```text
//! parse -> decap -> resolve -> route -> (acl) -> ttl -> tunnel -> neighbour -> finish
//! ```
//!
//! A worker hands batches of frames to a [`Pipeline`]; what it decides is settled in one place and
//! what must be sent stands in a queue for each port. No system calls, no clock, no allocation for
//! a packet, and `unsafe` only in [`frame`].

pub mod bell;
pub mod cx;
pub mod doing;
pub mod drops;
mod flow;
pub mod frame;
mod latest;
pub mod marks;
mod pipeline;
pub mod queues;
pub mod samples;
pub mod snapshot;
pub mod stages;
mod sums;
mod sync;
pub mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use pipeline::{Pipeline, Turn};
