//! Decisions: frames, tables and stages, without the machine.

pub mod tables;
