//! Compiles the XDP programs in `bpf/`, which `src/io/af_xdp/program.rs` and `src/bench/traffic/`
//! embed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const PROGRAMS: [&str; 4] = ["uplink", "pod", "sender", "sink"];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for program in PROGRAMS {
        let source = Path::new("bpf").join(program).with_extension("bpf.c");
        compile(&clang, &source, &out.join(program).with_extension("o"));
    }
}

fn compile(clang: &str, source: &Path, object: &Path) {
    // Maps are described by BTF, which takes -g.
    let status = Command::new(clang)
        .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-std=gnu11"])
        .arg("-fdebug-compilation-dir=.")
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail(&format!("{clang} could not compile {}; see above", source.display())),
        Err(e) => fail(&format!(
            "{clang} cannot be run ({e}), and the XDP programs need it: install it (Debian and Ubuntu: \
             `apt-get install clang`, or the project's set-up script), or name another in $CLANG"
        )),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
