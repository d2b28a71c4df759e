//! The `cableway` command; see [`cableway::cli`].

use cableway::bench::allocations::Counting;
use std::process::ExitCode;

/// The system's, counted for `cableway bench pipeline`: see there what that costs.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    cableway::cli::main()
}
