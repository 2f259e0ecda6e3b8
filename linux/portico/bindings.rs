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

/// Structures of the network stack that the above names in pointers, and nobody here looks into.
macro_rules! unseen {
    ($($name:ident),* $(,)?) => {
        $(#[repr(C)]
        pub struct $name {
            _unseen: [u8; 0],
        })*
    };
}

unseen! {
    gro_node,
    ifla_vf_guid,
    ifla_vf_info,
    ifla_vf_stats,
    ip_tunnel_parm_kern,
    ndmsg,
    neigh_parms,
    net_device_path,
    net_device_path_ctx,
    net_device_stats,
    net_shaper_ops,
    netdev_fcoe_hbainfo,
    netdev_hw_addr_list,
    netdev_phys_item_id,
    netdev_queue,
    xdp_txq_info,
    xsk_buff_pool,
}

pub type tc_setup_type = ffi::c_uint;
