//! Cableway: a userspace overlay router for Linux nodes.
//!
//! Three rooms, one direction: [`encap`] (bytes) <- [`pipeline`] (decisions) <- this crate (the
//! machine). Here are the ports, the workers' loop, the configuration and the control side.

pub mod bench;
pub mod cli;
pub mod config;
pub mod control;
pub mod interrupt;
pub mod io;
pub mod lab;
pub mod packet;
pub mod worker;
