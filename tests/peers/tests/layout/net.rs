// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `netif.h` says.

use std::mem::{offset_of, size_of};

use portico_core::net::ctrl::{self, CtrlGref, CtrlRequest, CtrlResponse};
use portico_core::net::wire::{
    self, ExtraGso, ExtraHash, ExtraInfo, RxRequest, RxResponse, TxRequest, TxResponse,
};
use portico_core::net::HashType;

/// Offset of the first byte that is not zero in `extra`, which has nothing but one field.
fn only(mut extra: ExtraInfo) -> usize {
    extra.kind = 0;
    let bytes: [u8; 8] = std::array::from_fn(|at| match at {
        0 => extra.kind,
        1 => extra.flags,
        _ => extra.u[at - 2],
    });
    bytes.iter().position(|&byte| byte != 0).expect("a field")
}

/// Names in C, and our numbers.
pub(super) fn facts() -> Vec<(&'static str, u64)> {
    let gso = ExtraGso::default();
    let gso_type = only(ExtraInfo::of_gso(ExtraGso { kind: 1, ..gso }));
    let gso_features = only(ExtraInfo::of_gso(ExtraGso { features: 1, ..gso }));
    let hash = ExtraHash {
        value: 1,
        ..ExtraHash::default()
    };
    let hash_value = only(ExtraInfo::of_hash(hash));
    let as_c = |value: i16| i64::from(value) as u64;
    let sizes = [
        ("sizeof(netif_tx_request_t)", size_of::<TxRequest>()),
        (
            "offsetof(netif_tx_request_t, offset)",
            offset_of!(TxRequest, offset),
        ),
        (
            "offsetof(netif_tx_request_t, flags)",
            offset_of!(TxRequest, flags),
        ),
        (
            "offsetof(netif_tx_request_t, id)",
            offset_of!(TxRequest, id),
        ),
        (
            "offsetof(netif_tx_request_t, size)",
            offset_of!(TxRequest, size),
        ),
        ("sizeof(netif_tx_response_t)", size_of::<TxResponse>()),
        (
            "offsetof(netif_tx_response_t, status)",
            offset_of!(TxResponse, status),
        ),
        ("sizeof(netif_rx_request_t)", size_of::<RxRequest>()),
        (
            "offsetof(netif_rx_request_t, gref)",
            offset_of!(RxRequest, gref),
        ),
        ("sizeof(netif_rx_response_t)", size_of::<RxResponse>()),
        (
            "offsetof(netif_rx_response_t, offset)",
            offset_of!(RxResponse, offset),
        ),
        (
            "offsetof(netif_rx_response_t, flags)",
            offset_of!(RxResponse, flags),
        ),
        (
            "offsetof(netif_rx_response_t, status)",
            offset_of!(RxResponse, status),
        ),
        ("sizeof(netif_extra_info_t)", size_of::<ExtraInfo>()),
        ("offsetof(netif_extra_info_t, u)", offset_of!(ExtraInfo, u)),
        ("offsetof(netif_extra_info_t, u.gso.type)", gso_type),
        ("offsetof(netif_extra_info_t, u.gso.features)", gso_features),
        ("offsetof(netif_extra_info_t, u.hash.value)", hash_value),
        (
            "sizeof(struct xen_netif_ctrl_request)",
            size_of::<CtrlRequest>(),
        ),
        (
            "offsetof(struct xen_netif_ctrl_request, data)",
            offset_of!(CtrlRequest, data),
        ),
        (
            "sizeof(struct xen_netif_ctrl_response)",
            size_of::<CtrlResponse>(),
        ),
        (
            "offsetof(struct xen_netif_ctrl_response, data)",
            offset_of!(CtrlResponse, data),
        ),
        ("sizeof(struct xen_netif_gref)", size_of::<CtrlGref>()),
        (
            "offsetof(struct xen_netif_gref, status)",
            offset_of!(CtrlGref, status),
        ),
        (
            "__CONST_RING_SIZE(netif_tx, 4096)",
            wire::TX_ENTRIES as usize,
        ),
        (
            "__CONST_RING_SIZE(netif_rx, 4096)",
            wire::RX_ENTRIES as usize,
        ),
        ("XEN_NETIF_NR_SLOTS_MIN", wire::NR_SLOTS_MIN),
    ];
    let numbers = [
        ("XEN_NETIF_MAX_TX_SIZE", wire::MAX_TX_SIZE.into()),
        ("NETTXF_csum_blank", wire::NETTXF_CSUM_BLANK.into()),
        ("NETTXF_data_validated", wire::NETTXF_DATA_VALIDATED.into()),
        ("NETTXF_more_data", wire::NETTXF_MORE_DATA.into()),
        ("NETTXF_extra_info", wire::NETTXF_EXTRA_INFO.into()),
        ("NETRXF_data_validated", wire::NETRXF_DATA_VALIDATED.into()),
        ("NETRXF_csum_blank", wire::NETRXF_CSUM_BLANK.into()),
        ("NETRXF_more_data", wire::NETRXF_MORE_DATA.into()),
        ("NETRXF_extra_info", wire::NETRXF_EXTRA_INFO.into()),
        ("NETRXF_gso_prefix", wire::NETRXF_GSO_PREFIX.into()),
        ("NETIF_RSP_DROPPED", as_c(wire::RSP_DROPPED)),
        ("NETIF_RSP_ERROR", as_c(wire::RSP_ERROR)),
        ("NETIF_RSP_NULL", as_c(wire::RSP_NULL)),
        ("XEN_NETIF_EXTRA_TYPE_GSO", wire::EXTRA_TYPE_GSO.into()),
        (
            "XEN_NETIF_EXTRA_TYPE_MCAST_ADD",
            wire::EXTRA_TYPE_MCAST_ADD.into(),
        ),
        (
            "XEN_NETIF_EXTRA_TYPE_MCAST_DEL",
            wire::EXTRA_TYPE_MCAST_DEL.into(),
        ),
        ("XEN_NETIF_EXTRA_TYPE_HASH", wire::EXTRA_TYPE_HASH.into()),
        ("XEN_NETIF_EXTRA_FLAG_MORE", wire::EXTRA_FLAG_MORE.into()),
        ("XEN_NETIF_GSO_TYPE_TCPV4", wire::GSO_TYPE_TCPV4.into()),
        ("XEN_NETIF_GSO_TYPE_TCPV6", wire::GSO_TYPE_TCPV6.into()),
        (
            "XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS",
            ctrl::TYPE_GET_HASH_FLAGS.into(),
        ),
        (
            "XEN_NETIF_CTRL_TYPE_SET_HASH_KEY",
            ctrl::TYPE_SET_HASH_KEY.into(),
        ),
        (
            "XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING",
            ctrl::TYPE_SET_HASH_MAPPING.into(),
        ),
        (
            "XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM",
            ctrl::TYPE_SET_HASH_ALGORITHM.into(),
        ),
        (
            "XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING",
            ctrl::TYPE_DEL_GREF_MAPPING.into(),
        ),
        (
            "XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW",
            ctrl::STATUS_BUFFER_OVERFLOW.into(),
        ),
        (
            "XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ",
            ctrl::HASH_ALGORITHM_TOEPLITZ.into(),
        ),
        (
            "XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP",
            1 << HashType::Ipv6Tcp as u64,
        ),
        ("XEN_NETIF_CTRLF_GREF_readonly", ctrl::GREF_READONLY.into()),
    ];
    let sizes = sizes.into_iter().map(|(name, size)| (name, size as u64));
    sizes.chain(numbers).collect()
}
