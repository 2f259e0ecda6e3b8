// SPDX-License-Identifier: GPL-2.0-only

//! The sizes that the bindings give to C structures, for a check against the kernel's own.
//!
//! They lie as lines of 64 bytes, a name, blanks and a decimal number, in the section
//! `.portico.layout` of `portico.ko`. The check takes them from there
//! (`objcopy -O binary --only-section=.portico.layout portico.ko /dev/stdout`) and compares each with
//! what the kernel's BTF says (`pahole -C NAME vmlinux`).

use portico_bindings as bindings;

const LINE: usize = 64;

#[inline]
const fn line(name: &str, size: usize) -> [u8; LINE] {
    let name = name.as_bytes();
    let mut line = [b' '; LINE];
    let mut at = 0;
    assert!(name.len() < LINE - 10);
    while at < name.len() {
        line[at] = name[at];
        at += 1;
    }
    line[LINE - 1] = b'\n';
    let mut at = LINE - 2;
    let mut rest = size;
    loop {
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return line;
        }
        at -= 1;
    }
}

macro_rules! layout {
    ($($name:ident),* $(,)?) => {
        #[link_section = ".portico.layout"]
        #[used(compiler)]
        static LAYOUT: [[u8; LINE]; [$(stringify!($name)),*].len()] =
            [$(line(stringify!($name), size_of::<bindings::$name>())),*];
    };
}

layout! {
    bio,
    bio_vec,
    blk_mq_hw_ctx,
    blk_mq_ops,
    blk_mq_queue_data,
    blk_mq_tag_set,
    block_device,
    block_device_operations,
    bvec_iter,
    delayed_work,
    device,
    device_driver,
    gendisk,
    hd_geometry,
    ethtool_ops,
    kernel_param,
    kernel_param_ops,
    napi_struct,
    net_device_ops,
    queue_limits,
    request,
    request_queue,
    rtnl_link_stats64,
    sk_buff,
    skb_shared_info,
    work_struct,
    xenbus_device,
    xenbus_device_id,
    xenbus_driver,
    xenbus_transaction,
    xenbus_watch,
}
