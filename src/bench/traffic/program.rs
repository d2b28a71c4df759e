//! Loading the bench's own XDP programs.

use super::super::{Error, Result};
use aya::maps::{Map, MapError};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

/// Loads an object.
pub(super) fn load(what: &str, object: &[u8]) -> Result<Ebpf> {
    // Ours look at frames alone, and need none of the kernel's types.
    let mut loader = EbpfLoader::new();
    let loaded = loader.btf(None).load(object);
    loaded.map_err(|error| Error::program(format!("load {what}"), error))
}

/// Loads one of its programs into the kernel.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).expect("the object has a program of this name");
    let program: &mut Xdp = program.try_into().expect("its section makes it an XDP program");
    program.load().map_err(|error| Error::program(format!("load program {name:?}"), error))?;
    Ok(program)
}

/// Takes one of its maps.
pub(super) fn map<T>(
    ebpf: &mut Ebpf,
    name: &str,
    convert: impl FnOnce(Map) -> std::result::Result<T, MapError>,
) -> T {
    let map = ebpf.take_map(name).expect("the object has a map of this name");
    convert(map).expect("the map is of the type that its source says")
}
