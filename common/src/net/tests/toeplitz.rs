// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test vectors that Microsoft published with receive side scaling.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use crate::net::toeplitz::toeplitz;

const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

fn check(addresses: Vec<u8>, ports: (u16, u16), alone: u32, with_ports: u32) {
    assert_eq!(toeplitz(&KEY, &addresses), alone);
    let mut input = addresses;
    input.extend(ports.0.to_be_bytes());
    input.extend(ports.1.to_be_bytes());
    assert_eq!(toeplitz(&KEY, &input), with_ports);
}

#[test]
fn ipv4() {
    // Source, destination, their ports, the hash without ports and with them.
    for (src, dst, ports, alone, with_ports) in [
        (
            "66.9.149.187",
            "161.142.100.80",
            (2794, 1766),
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "199.92.111.2",
            "65.69.140.83",
            (14230, 4739),
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "24.19.198.95",
            "12.22.207.184",
            (12898, 38024),
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "38.27.205.30",
            "209.142.163.6",
            (48228, 2217),
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "153.39.163.191",
            "202.188.127.2",
            (44251, 1303),
            0x5d18_09c5,
            0x10e8_28a2,
        ),
    ] {
        let octets = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
        let addresses = [octets(src), octets(dst)].concat();
        check(addresses, ports, alone, with_ports);
    }
}

#[test]
fn ipv6() {
    for (src, dst, ports, alone, with_ports) in [
        (
            "3ffe:2501:200:1fff::7",
            "3ffe:2501:200:3::1",
            (2794, 1766),
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "3ffe:501:8::260:97ff:fe40:efab",
            "ff02::1",
            (14230, 4739),
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            "fe80::200:f8ff:fe21:67cf",
            (44251, 38024),
            0x4b61_e985,
            0x02d1_feef,
        ),
    ] {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let addresses = [octets(src), octets(dst)].concat();
        check(addresses, ports, alone, with_ports);
    }
}

#[test]
fn a_key_goes_on_in_zeros() {
    assert_eq!(toeplitz(&[], &[0xff; 36]), 0);
    let mut long = KEY[..16].to_vec();
    let short = toeplitz(&long, &[0xa5; 36]);
    long.resize(40, 0);
    assert_eq!(toeplitz(&long, &[0xa5; 36]), short);
    assert_eq!(toeplitz(&KEY, &[]), 0);
    // The first bit of the input takes the first bits of the key.
    assert_eq!(toeplitz(&KEY, &[0x80]), 0x6d5a_56da);
    assert_eq!(toeplitz(&KEY, &[0x01]), 0xad2b_6d12);
}
