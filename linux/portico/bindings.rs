// SPDX-License-Identifier: GPL-2.0-only

//! Raw bindings of the kernel's C interfaces that Portico uses.
//!
//! Everything of `kernel::bindings` is here under the same type, and beside it what the headers of
//! `bindings.h` declare and the C functions of `helpers.c`. Only crate `portico` may use this.

#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::as_underscore,
    clippy::cast_lossless,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;
use pin_init::MaybeZeroable;

pub use kernel::bindings::*;

include!(env!("PORTICO_BINDINGS"));
