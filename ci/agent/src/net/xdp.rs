// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small XDP program, put together by hand: what it does to UDP packets for port 7 is chosen, all
//! others pass.

use super::watch::index;
use crate::proto::{Fault, XdpAction};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Commands of the system call (`enum bpf_cmd`).
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

/// `BPF_MAP_TYPE_ARRAY`, `BPF_PROG_TYPE_XDP`, `BPF_XDP`, `XDP_FLAGS_DRV_MODE`.
const ARRAY: u32 = 2;
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const DRIVER_MODE: u32 = 1 << 2;

/// An argument of the system call: words, as far as anybody here knows it.
type Attr = [u64; 16];

fn bpf(command: libc::c_int, attr: &mut Attr) -> io::Result<libc::c_long> {
    // SAFETY: the attribute has the size that is said and lives over the call; what it points to does,
    // too, by the callers' care.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of::<Attr>()) };
    match done {
        -1 => Err(io::Error::last_os_error()),
        done => Ok(done),
    }
}

fn words(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor for the caller.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}

/// Instructions (`struct bpf_insn`): code, registers (source, destination), offset, constant.
#[derive(Default)]
struct Program(Vec<u64>);

impl Program {
    fn op(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        let registers = u64::from(src << 4 | dst);
        self.0.push(
            u64::from(code)
                | registers << 8
                | u64::from(off as u16) << 16
                | u64::from(imm as u32) << 32,
        );
    }

    /// Changes over two fields of the packet, whose start is in register 2. `size` is the size's code.
    fn exchange(&mut self, size: u8, one: i16, other: i16) {
        self.op(0x61 & !0x18 | size, 4, 2, one, 0);
        self.op(0x61 & !0x18 | size, 5, 2, other, 0);
        self.op(0x63 & !0x18 | size, 2, 5, one, 0);
        self.op(0x63 & !0x18 | size, 2, 4, other, 0);
    }
}

const WORD: u8 = 0x00;
const HALF: u8 = 0x08;

/// The program; `map` counts, `link` is where packets are redirected to.
fn program(action: XdpAction, map: i32, link: i32) -> Vec<u64> {
    let mut body = Program::default();
    if matches!(action, XdpAction::Tx | XdpAction::Redirect) {
        // Ethernet addresses, IP addresses, ports; and no checksum of UDP.
        body.exchange(WORD, 0, 6);
        body.exchange(HALF, 4, 10);
        body.exchange(WORD, 26, 30);
        body.exchange(HALF, 34, 36);
        body.op(0x6a, 2, 0, 40, 0);
    }
    // Element 0 of the map, plus one.
    body.op(0x62, 10, 0, -4, 0);
    body.op(0xbf, 2, 10, 0, 0);
    body.op(0x07, 2, 0, 0, -4);
    body.op(0x18, 1, 1, 0, map);
    body.op(0, 0, 0, 0, 0);
    body.op(0x85, 0, 0, 0, 1);
    body.op(0x15, 0, 0, 2, 0);
    body.op(0xb7, 1, 0, 0, 1);
    body.op(0xdb, 0, 1, 0, 0);
    match action {
        XdpAction::Redirect => {
            body.op(0xb7, 1, 0, 0, link);
            body.op(0xb7, 2, 0, 0, 0);
            body.op(0x85, 0, 0, 0, 23);
        }
        XdpAction::Drop => body.op(0xb7, 0, 0, 0, 1),
        XdpAction::Pass => body.op(0xb7, 0, 0, 0, 2),
        XdpAction::Tx => body.op(0xb7, 0, 0, 0, 3),
    }
    body.op(0x95, 0, 0, 0, 0);

    // What is not IPv4, not UDP, or for another port jumps behind the body.
    let mut all = Program::default();
    let len = body.0.len() as i16;
    all.op(0x61, 2, 1, 0, 0);
    all.op(0x61, 3, 1, 4, 0);
    all.op(0xbf, 4, 2, 0, 0);
    all.op(0x07, 4, 0, 0, 42);
    all.op(0x2d, 4, 3, len + 6, 0);
    all.op(0x69, 5, 2, 12, 0);
    all.op(0x55, 5, 0, len + 4, 0x0008);
    all.op(0x71, 5, 2, 23, 0);
    all.op(0x55, 5, 0, len + 2, 17);
    all.op(0x69, 5, 2, 36, 0);
    all.op(0x55, 5, 0, len, 0x0700);
    all.0.extend(body.0);
    all.op(0xb7, 0, 0, 0, 2);
    all.op(0x95, 0, 0, 0, 0);
    all.0
}

/// The program on an interface; it goes when this is dropped.
#[derive(Debug)]
pub struct Attached {
    link: String,
    map: OwnedFd,
    _attachment: OwnedFd,
}

/// Puts the program on an interface.
pub fn attach(link: &str, action: XdpAction) -> Result<Attached, Fault> {
    let lost = |what: &str, e: &io::Error| Fault::os(format_args!("{what} for XDP on {link}"), e);
    let number = index(link).map_err(|e| lost("interface", &e))?;

    let mut attr = Attr::default();
    attr[0] = words(ARRAY, 4);
    attr[1] = words(8, 1);
    let map = bpf(MAP_CREATE, &mut attr).map_err(|e| lost("map", &e))?;
    let map = own(map);

    let code = program(action, map.as_raw_fd(), number);
    let licence = c"Dual MIT/GPL";
    let mut log = vec![0_u8; 1 << 16];
    let mut attr = Attr::default();
    attr[0] = words(TYPE_XDP, code.len() as u32);
    attr[1] = code.as_ptr() as u64;
    attr[2] = licence.as_ptr() as u64;
    attr[3] = words(1, log.len() as u32);
    attr[4] = log.as_mut_ptr() as u64;
    let loaded = bpf(PROG_LOAD, &mut attr).map_err(|e| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let said = String::from_utf8_lossy(&log[..end]).into_owned();
        let fault = lost("program", &e);
        Fault::new(fault.kind, format!("{}: {said}", fault.message))
    })?;
    let loaded = own(loaded);

    let mut attr = Attr::default();
    attr[0] = words(loaded.as_raw_fd() as u32, number as u32);
    attr[1] = words(ATTACH_XDP, DRIVER_MODE);
    let attached = bpf(LINK_CREATE, &mut attr).map_err(|e| lost("attachment", &e))?;
    Ok(Attached {
        link: link.to_owned(),
        map,
        _attachment: own(attached),
    })
}

impl Attached {
    /// How many packets for port 7 it has seen.
    pub fn count(&self) -> Result<u64, Fault> {
        let (key, mut count) = (0_u32, 0_u64);
        let mut attr = Attr::default();
        attr[0] = words(self.map.as_raw_fd() as u32, 0);
        attr[1] = std::ptr::from_ref(&key) as u64;
        attr[2] = std::ptr::from_mut(&mut count) as u64;
        bpf(MAP_LOOKUP_ELEM, &mut attr)
            .map_err(|e| Fault::os(format_args!("count of XDP on {}", self.link), &e))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_end_at_the_last_two_instructions() {
        for action in XdpAction::ALL {
            let code = program(action, 3, 7);
            for (at, op) in code.iter().enumerate() {
                if matches!(*op as u8, 0x2d | 0x55) {
                    let to = at as i64 + 1 + i64::from((op >> 16) as i16);
                    assert_eq!(to, code.len() as i64 - 2, "{action:?}, instruction {at}");
                }
            }
        }
    }
}
