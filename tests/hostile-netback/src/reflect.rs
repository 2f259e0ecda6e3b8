// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host behind the back end: it answers ARP for its address, pings, and UDP with the same bytes. An
//! answer is the question with its addresses and ports changed over, which leaves checksums right.

/// Its Ethernet address.
pub const MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0x01];

const ETH: usize = 14;
const ETH_P_ARP: [u8; 2] = [0x08, 0x06];
const ETH_P_IP: [u8; 2] = [0x08, 0x00];
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// Makes a frame its own answer; `false`: it gets none.
pub fn reflect(frame: &mut [u8], address: [u8; 4]) -> bool {
    if frame.len() < ETH + 20 {
        return false;
    }
    let answered = match [frame[12], frame[13]] {
        ETH_P_ARP => arp(&mut frame[ETH..], address),
        ETH_P_IP => ip(&mut frame[ETH..], address),
        _ => false,
    };
    if answered {
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&MAC);
    }
    answered
}

fn arp(packet: &mut [u8], address: [u8; 4]) -> bool {
    // A question (operation 1) for this address.
    if packet.len() < 28 || packet[6..8] != [0, 1] || packet[24..28] != address {
        return false;
    }
    packet[7] = 2;
    packet.copy_within(8..18, 18);
    packet[8..14].copy_from_slice(&MAC);
    packet[14..18].copy_from_slice(&address);
    true
}

fn ip(packet: &mut [u8], address: [u8; 4]) -> bool {
    let header = usize::from(packet[0] & 15) * 4;
    if packet[0] >> 4 != 4 || header < 20 || packet.len() < header || packet[16..20] != address {
        return false;
    }
    let source = [packet[12], packet[13], packet[14], packet[15]];
    packet[12..16].copy_from_slice(&address);
    packet[16..20].copy_from_slice(&source);
    let first = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0;
    let protocol = packet[9];
    let body = &mut packet[header..];
    match protocol {
        // Later fragments have no header of their own.
        ICMP | UDP if !first => true,
        UDP if body.len() >= 8 => {
            let (from, to) = body.split_at_mut(2);
            from.swap_with_slice(&mut to[..2]);
            true
        }
        ICMP if body.len() >= 8 && body[0] == 8 => {
            body[0] = 0;
            // One's complement: what the type lost, the checksum gains.
            let sum = u32::from(u16::from_be_bytes([body[2], body[3]])) + 0x0800;
            let sum = (sum & 0xffff) + (sum >> 16);
            body[2..4].copy_from_slice(&(sum as u16).to_be_bytes());
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 4] = [10, 0, 0, 1];

    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn frame(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETH + 20];
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12..14].copy_from_slice(&ETH_P_IP);
        frame[ETH] = 0x45;
        frame[ETH + 9] = protocol;
        frame[ETH + 12..ETH + 16].copy_from_slice(&[10, 0, 0, 2]);
        frame[ETH + 16..ETH + 20].copy_from_slice(&OWN);
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn a_ping_is_answered_with_a_right_checksum() {
        let mut body = [8, 0, 0, 0, 1, 2, 0, 1, 77, 78];
        let right = sum(&body).to_be_bytes();
        body[2..4].copy_from_slice(&right);
        let mut frame = frame(ICMP, &body);
        assert!(reflect(&mut frame, OWN));
        assert_eq!((frame[ETH + 20], sum(&frame[ETH + 20..])), (0, 0));
        assert_eq!(frame[..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(frame[ETH + 12..ETH + 20], [10, 0, 0, 1, 10, 0, 0, 2]);
    }

    #[test]
    fn datagrams_come_back() {
        let mut frame = frame(UDP, &[0, 7, 1, 1, 0, 9, 0, 0, 5]);
        assert!(reflect(&mut frame, OWN));
        assert_eq!(frame[ETH + 20..], [1, 1, 0, 7, 0, 9, 0, 0, 5]);
        let mut other = super::tests::frame(UDP, &[0; 8]);
        assert!(!reflect(&mut other, [10, 0, 0, 7]));
        assert!(!reflect(&mut [0; 20], OWN));
    }

    #[test]
    fn arp_tells_the_address() {
        let mut frame = vec![0; ETH + 28];
        frame[12..14].copy_from_slice(&ETH_P_ARP);
        frame[ETH + 7] = 1;
        frame[ETH + 8..ETH + 18].copy_from_slice(&[2, 0, 0, 0, 0, 9, 10, 0, 0, 2]);
        frame[ETH + 24..].copy_from_slice(&OWN);
        assert!(reflect(&mut frame, OWN));
        assert_eq!(frame[ETH + 7], 2);
        assert_eq!(frame[ETH + 8..ETH + 14], MAC);
        assert_eq!(frame[ETH + 18..ETH + 28], [2, 0, 0, 0, 0, 9, 10, 0, 0, 2]);
    }
}
