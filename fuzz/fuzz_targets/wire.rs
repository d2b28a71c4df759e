//! Every view and every header of `encap::wire` on any bytes.
#![no_main]

#[path = "../../encap/tests/common/read.rs"]
mod read;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| read::read_everything(bytes));
