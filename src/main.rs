//! The `cableway` command; see [`cableway::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    cableway::cli::main()
}
