// SPDX-License-Identifier: GPL-2.0-only

//! `rxbuf_min`, `rxbuf_max` and `rxbuf_cur`: the buffers of a receive ring, which can no longer be
//! changed.

use core::fmt::Write;
use kernel::prelude::*;
use portico::net::{Attribute, AttributeText, NetDevice};
use portico_core::net::wire::RX_ENTRIES;

use crate::net::Net;

fn show(out: &mut AttributeText) -> Result {
    writeln!(out, "{RX_ENTRIES}").map_err(|_| EINVAL)
}

/// Takes any number, and leaves it at that.
fn store(text: &[u8]) -> Result {
    match text.first() {
        Some(first) if first.is_ascii_digit() => Ok(()),
        _ => Err(EBADMSG),
    }
}

macro_rules! rxbuf {
    ($($name:ident, $file:literal, $mode:literal;)*) => {
        $(pub(crate) struct $name;

        impl Attribute<Net> for $name {
            const NAME: &'static CStr = $file;
            const MODE: u16 = $mode;

            fn show(_dev: &NetDevice<Net>, out: &mut AttributeText) -> Result {
                show(out)
            }

            fn store(_dev: &NetDevice<Net>, text: &[u8]) -> Result {
                store(text)
            }
        })*
    };
}

rxbuf! {
    RxbufMin, c"rxbuf_min", 0o644;
    RxbufMax, c"rxbuf_max", 0o644;
    RxbufCur, c"rxbuf_cur", 0o444;
}
