#!/usr/bin/env bash
# Installs what Cableway is built, shown and tested with: packages of Debian and Ubuntu that are
# missing, and the Rust toolchain by rustup where there is no cargo. Quick when all is there.
# `./setup.sh compare` also installs what it is compared and tested with: another kind of node, and a
# dissector that judges what is sent. `./setup.sh interop` has a kernel for a virtual machine, instead.
set -euo pipefail

# What the programs are for; the package names are the same on Debian and Ubuntu.
packages=(
    gcc libc6-dev make curl ca-certificates          # linking, and getting rustup
    clang                                            # the XDP programs
    g++                                              # libFuzzer, for fuzz/
    iproute2 iputils-ping iputils-tracepath          # labs
    nftables procps ethtool
    tcpdump iperf3                                   # what a lab's wire and pods are watched with
    netcat-openbsd                                   # a client of labs with policies
    systemd                                          # systemd-analyze, which checks the unit
)

if [[ ${1:-} == compare ]]; then
    packages+=(openvswitch-switch tshark)
elif [[ ${1:-} == interop ]]; then
    packages+=(qemu-system-x86 busybox-static cpio kmod xz-utils tshark)
fi

fail() {
    echo "setup: $*" >&2
    exit 1
}

missing_packages() {
    # Unknown packages make it fail, and are missing.
    local installed
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
        sed -n 's/ installed$//p') || true
    printf '%s\n' "${packages[@]}" | grep -vxF "$installed" || true
}

install_packages() {
    command -v dpkg-query >/dev/null || {
        echo "setup: this is neither Debian nor Ubuntu; see to it that their packages are here:" >&2
        echo "setup:   ${packages[*]}" >&2
        return
    }
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    local root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            fail "neither root nor sudo is here; as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${root[@]}" apt-get update -q
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}" ||
        fail "apt-get could not install: ${missing[*]}"
}

# Debian's kernel with its modules of networking, not installed but unpacked.
unpack_kernel() {
    local directory=target/interop package
    [[ ! -e $directory/kernel ]] || return 0
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: //p')
    [[ -n $package ]] || fail "no package linux-image-amd64 is known here; Debian on x86-64 has it"
    echo "setup: unpacking $package"
    rm -rf "$directory"
    mkdir -p "$directory/new"
    (cd "$directory" && apt-get download -q "$package") ||
        fail "apt-get could not download $package; \`apt-get update\` may help"
    dpkg-deb --fsys-tarfile "$directory/$package"_*.deb | tar -x -C "$directory/new" --wildcards \
        './boot/vmlinuz-*' '*/modules/*/modules.*' '*/modules/*/kernel/lib/*' \
        '*/modules/*/kernel/net/*' '*/modules/*/kernel/drivers/net/*' '*/modules/*/kernel/drivers/virtio/*'
    [[ -e $directory/new/lib ]] || ln -s usr/lib "$directory/new/lib"
    find "$directory/new" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$directory/new" "$(ls "$directory/new/lib/modules")"
    rm "$directory/$package"_*.deb
    mv "$directory/new" "$directory/kernel"
}

install_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null && [[ ! -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
        echo "setup: installing Rust by rustup"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --profile minimal -c clippy -c rustfmt ||
            fail "rustup could not install Rust $wanted; see https://rustup.rs"
    fi
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    local found
    found=$(rustc --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] ||
        fail "Rust $wanted or newer is needed, found $found; \`rustup update stable\` brings it"
}

cd "$(dirname "${BASH_SOURCE[0]}")"
install_packages
install_rust
if [[ ${1:-} == interop ]]; then
    unpack_kernel
fi
