//! Contenders in the same place, in turn.

pub mod measure;
pub mod rows;
pub mod schedule;
pub mod trial;
