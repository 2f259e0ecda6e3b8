// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's wire types against what the C compiler makes of Xen's headers.
#![cfg(not(loom))]

#[cfg(not(xen_headers))]
#[test]
#[ignore = "xen/io/ring.h not found: install libxen-dev or set PORTICO_XEN_INCLUDE"]
fn against_xen_headers() {}

#[cfg(xen_headers)]
#[path = "layout/net.rs"]
mod net;

#[cfg(xen_headers)]
mod against_xen_headers {
    use std::collections::BTreeMap;
    use std::mem::{offset_of, size_of};

    use portico_core::block::wire as blk;
    use portico_core::event::wire as evtchn;
    use portico_core::grant::wire::{self as grant, Gtf};
    use portico_core::xenstore::wire::{self as xs, XsdSockmsgType};
    use portico_peers::c;

    #[test]
    fn sizes_offsets_and_numbers() {
        let mut c: BTreeMap<_, _> = c::facts().into_iter().collect();
        let mut same = |name: &str, ours: u64| {
            assert_eq!(c.remove(name), Some(ours), "{name}");
        };
        let bit = |flag: evtchn::EventWord| flag.bits().trailing_zeros() as usize;
        let as_c = |value: i16| i64::from(value) as u64;
        for (name, ours) in [
            ("sizeof(blkif_request_t)", size_of::<blk::Request>()),
            (
                "offsetof(blkif_request_t, id)",
                offset_of!(blk::RequestHead, id),
            ),
            (
                "offsetof(blkif_request_t, sector_number)",
                offset_of!(blk::RequestHead, sector_number),
            ),
            (
                "offsetof(blkif_request_t, seg)",
                offset_of!(blk::Request, seg),
            ),
            (
                "sizeof(struct blkif_request_segment)",
                size_of::<blk::WireSegment>(),
            ),
            (
                "offsetof(struct blkif_request_segment, last_sect)",
                offset_of!(blk::WireSegment, last_sect),
            ),
            (
                "sizeof(struct blkif_request_discard)",
                size_of::<blk::RequestDiscard>(),
            ),
            (
                "offsetof(struct blkif_request_discard, nr_sectors)",
                offset_of!(blk::RequestDiscard, nr_sectors),
            ),
            (
                "sizeof(struct blkif_request_indirect)",
                size_of::<blk::RequestIndirect>(),
            ),
            (
                "offsetof(struct blkif_request_indirect, handle)",
                offset_of!(blk::RequestIndirect, handle),
            ),
            (
                "offsetof(struct blkif_request_indirect, indirect_grefs)",
                offset_of!(blk::RequestIndirect, indirect_grefs),
            ),
            ("sizeof(blkif_response_t)", size_of::<blk::Response>()),
            (
                "offsetof(blkif_response_t, status)",
                offset_of!(blk::Response, status),
            ),
            ("offsetof(blkif_sring_t, ring)", 64),
            (
                "__CONST_RING_SIZE(blkif, 4096)",
                blk::ring_entries(1) as usize,
            ),
            (
                "__CONST_RING_SIZE(blkif, 65536)",
                blk::ring_entries(16) as usize,
            ),
            ("BLKIF_OP_WRITE_BARRIER", blk::OP_WRITE_BARRIER.into()),
            ("BLKIF_OP_FLUSH_DISKCACHE", blk::OP_FLUSH_DISKCACHE.into()),
            ("BLKIF_OP_DISCARD", blk::OP_DISCARD.into()),
            ("BLKIF_OP_INDIRECT", blk::OP_INDIRECT.into()),
            ("BLKIF_MAX_SEGMENTS_PER_REQUEST", blk::MAX_SEGMENTS),
            (
                "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST",
                blk::MAX_INDIRECT_PAGES,
            ),
            ("sizeof(grant_entry_v1_t)", size_of::<grant::GrantEntryV1>()),
            (
                "offsetof(grant_entry_v1_t, frame)",
                offset_of!(grant::GrantEntryV1, frame),
            ),
            (
                "sizeof(grant_entry_v2_t)",
                size_of::<grant::GrantEntryV2FullPage>(),
            ),
            (
                "offsetof(grant_entry_v2_t, full_page.frame)",
                offset_of!(grant::GrantEntryV2FullPage, frame),
            ),
            ("sizeof(grant_status_t)", size_of::<grant::GrantStatus>()),
            ("GTF_permit_access", Gtf::PERMIT_ACCESS.bits().into()),
            ("GTF_type_mask", Gtf::TYPE_MASK.bits().into()),
            ("GTF_readonly", Gtf::READONLY.bits().into()),
            ("GTF_reading", Gtf::READING.bits().into()),
            ("GTF_writing", Gtf::WRITING.bits().into()),
            (
                "GNTTAB_NR_RESERVED_ENTRIES",
                grant::GNTTAB_NR_RESERVED_ENTRIES as usize,
            ),
            (
                "EVTCHN_2L_NR_CHANNELS",
                evtchn::EVTCHN_2L_NR_CHANNELS as usize,
            ),
            (
                "EVTCHN_FIFO_NR_CHANNELS",
                evtchn::EVTCHN_FIFO_NR_CHANNELS as usize,
            ),
            (
                "EVTCHN_FIFO_LINK_MASK",
                evtchn::EVTCHN_FIFO_LINK_MASK as usize,
            ),
            ("EVTCHN_FIFO_PENDING", bit(evtchn::EventWord::PENDING)),
            ("EVTCHN_FIFO_MASKED", bit(evtchn::EventWord::MASKED)),
            ("EVTCHN_FIFO_LINKED", bit(evtchn::EventWord::LINKED)),
            ("EVTCHN_FIFO_BUSY", bit(evtchn::EventWord::BUSY)),
            ("EVTCHN_FIFO_MAX_QUEUES", evtchn::EVTCHN_FIFO_MAX_QUEUES),
            (
                "EVTCHN_FIFO_PRIORITY_DEFAULT",
                evtchn::EVTCHN_FIFO_PRIORITY_DEFAULT as usize,
            ),
            (
                "sizeof(evtchn_fifo_control_block_t)",
                size_of::<evtchn::EvtchnFifoControlBlock>(),
            ),
            (
                "offsetof(evtchn_fifo_control_block_t, head)",
                offset_of!(evtchn::EvtchnFifoControlBlock, head),
            ),
            (
                "offsetof(struct vcpu_info, evtchn_pending_sel)",
                offset_of!(evtchn::VcpuInfo, evtchn_pending_sel),
            ),
            ("sizeof(struct vcpu_info)", size_of::<evtchn::VcpuInfo>()),
            (
                "offsetof(struct shared_info, evtchn_pending)",
                offset_of!(evtchn::SharedInfo, evtchn_pending),
            ),
            (
                "offsetof(struct shared_info, evtchn_mask)",
                offset_of!(evtchn::SharedInfo, evtchn_mask),
            ),
            ("sizeof(struct xsd_sockmsg)", size_of::<xs::XsdSockmsg>()),
            (
                "offsetof(struct xsd_sockmsg, tx_id)",
                offset_of!(xs::XsdSockmsg, tx_id),
            ),
            (
                "offsetof(struct xenstore_domain_interface, rsp_prod)",
                offset_of!(xs::XenstoreDomainInterface, rsp_prod),
            ),
            (
                "offsetof(struct xenstore_domain_interface, error)",
                offset_of!(xs::XenstoreDomainInterface, error),
            ),
            ("XS_WATCH_EVENT", XsdSockmsgType::WatchEvent as usize),
            ("XS_ERROR", XsdSockmsgType::Error as usize),
            ("XS_RESET_WATCHES", XsdSockmsgType::ResetWatches as usize),
            ("XS_DIRECTORY_PART", XsdSockmsgType::DirectoryPart as usize),
            (
                "XS_TRANSACTION_END",
                XsdSockmsgType::TransactionEnd as usize,
            ),
            ("XENSTORE_PAYLOAD_MAX", xs::XENSTORE_PAYLOAD_MAX),
            ("XENSTORE_ABS_PATH_MAX", xs::XENSTORE_ABS_PATH_MAX),
            ("XENSTORE_REL_PATH_MAX", xs::XENSTORE_REL_PATH_MAX),
        ] {
            same(name, ours as u64);
        }
        for (name, ours) in crate::net::facts() {
            same(name, ours);
        }
        same("BLKIF_RSP_ERROR", as_c(blk::RSP_ERROR));
        same("BLKIF_RSP_EOPNOTSUPP", as_c(blk::RSP_EOPNOTSUPP));
        assert!(c.is_empty(), "compared with nothing: {c:?}");
    }

    #[test]
    fn error_names() {
        let listed = c::xsd_errors();
        assert_eq!(listed.len(), xs::XsdError::ALL.len());
        for (name, number) in listed {
            let ours = xs::XsdError::from_name(name.as_bytes());
            assert_eq!((ours.name(), i32::from(ours.errno())), (name, number));
        }
    }
}
