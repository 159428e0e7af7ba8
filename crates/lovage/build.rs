//! Links the `lovage` binary with packed relative relocations.
//!
//! The loader reads every relocation at start, so their pages stay resident: 1.7 MB of 24 bytes each, some 30 kB packed. It takes glibc 2.36
//! (Debian 12, Ubuntu 22.10) to run such a program; an older one refuses it by name (`GLIBC_ABI_DT_RELR`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
