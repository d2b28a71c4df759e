//! Cableway: a userspace overlay router for Linux nodes.
