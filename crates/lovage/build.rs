//! How the `lovage` binary is linked on Linux: small in memory.
//!
//! * Packed relative relocations: the loader reads every relocation at start, so their pages stay resident: 1.7 MB of 24 bytes each, some
//!   30 kB packed. It takes glibc 2.36 (Debian 12, Ubuntu 22.10) to run such a program; an older one refuses it by name
//!   (`GLIBC_ABI_DT_RELR`).
//! * In release builds for x86-64, what a worker calls lies side by side (`link-order.txt`, written by `scripts/link-order`): each page that
//!   is touched brings the 64 KiB around it into memory. That takes lld, which is Rust's own linker there; where another one was chosen the
//!   order is left out.

use std::{env, path::Path};

/// The functions that a worker calls, beside this script.
const ORDER: &str = "link-order.txt";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") != "linux" || target("ENV") != "gnu" {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // An image builds the dependencies first, with little more than the manifests.
    let has_order = Path::new(ORDER).exists();
    if is_release && has_order && target("ARCH") == "x86_64" && links_with_lld() {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={folder}/{ORDER}");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}

/// Whether nobody has chosen another linker than Rust's own.
fn links_with_lld() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").unwrap_or_default();
    linker.is_empty()
        && (flags.contains("fuse-ld=lld")
            || !["fuse-ld", "linker"]
                .iter()
                .any(|word| flags.contains(word)))
}
