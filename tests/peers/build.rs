// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles Xen's own ring macros, from the headers of the distribution's libxen-dev.
//!
//! `cfg(xen_headers)` says that they were found: in the folder that `PORTICO_XEN_INCLUDE` names, or
//! in `/usr/include`. Without them the tests against C are shown as ignored.

use std::env;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "PORTICO_XEN_INCLUDE";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_CFG_LOOM").is_some() {
        return;
    }
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let folder = named
        .clone()
        .unwrap_or_else(|| Path::new("/usr/include").into());
    let header = folder.join("xen/io/ring.h");
    println!("cargo::rerun-if-changed={}", header.display());
    if !header.is_file() {
        let missing = header.display();
        assert!(
            named.is_none(),
            "{VARIABLE} is set, but {missing} does not exist"
        );
        println!(
            "cargo::warning={missing} not found, so tests against Xen's C macros are left out: \
             install libxen-dev, or set {VARIABLE} to the folder that holds xen/"
        );
        return;
    }
    cc::Build::new()
        .file("c/ring.c")
        .file("c/layout.c")
        .file("c/driver.c")
        .file("c/net.c")
        .file("c/net_driver.c")
        .flag("-isystem")
        .flag(folder)
        .define("__XEN_TOOLS__", None)
        // Debug information would turn them on in C alone, and the benchmarks compare.
        .force_frame_pointer(false)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("portico_peers");
    println!("cargo::rustc-cfg=xen_headers");
}
