// SPDX-License-Identifier: MIT OR Apache-2.0
/* What the C compiler makes of Xen's headers: sizes, offsets, numbers and error names. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define xen_mb()
#define xen_rmb()
#define xen_wmb()
#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/event_channel.h>
#include <xen/io/ring.h>
#include <xen/io/blkif.h>
#include <xen/io/netif.h>
#include <xen/io/xs_wire.h>

struct fact {
	const char *name;
	uint64_t value;
};

#define V(x) { #x, (uint64_t)(x) }

const struct fact peer_facts[] = {
	V(sizeof(blkif_request_t)), V(offsetof(blkif_request_t, id)),
	V(offsetof(blkif_request_t, sector_number)), V(offsetof(blkif_request_t, seg)),
	V(sizeof(struct blkif_request_segment)), V(offsetof(struct blkif_request_segment, last_sect)),
	V(sizeof(struct blkif_request_discard)), V(offsetof(struct blkif_request_discard, nr_sectors)),
	V(sizeof(struct blkif_request_indirect)), V(offsetof(struct blkif_request_indirect, handle)),
	V(offsetof(struct blkif_request_indirect, indirect_grefs)),
	V(sizeof(blkif_response_t)), V(offsetof(blkif_response_t, status)),
	V(offsetof(blkif_sring_t, ring)), V(__CONST_RING_SIZE(blkif, 4096)),
	V(__CONST_RING_SIZE(blkif, 65536)),
	V(BLKIF_OP_WRITE_BARRIER), V(BLKIF_OP_FLUSH_DISKCACHE), V(BLKIF_OP_DISCARD), V(BLKIF_OP_INDIRECT),
	V(BLKIF_RSP_ERROR), V(BLKIF_RSP_EOPNOTSUPP), V(BLKIF_MAX_SEGMENTS_PER_REQUEST),
	V(BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),

	V(sizeof(netif_tx_request_t)), V(offsetof(netif_tx_request_t, offset)),
	V(offsetof(netif_tx_request_t, flags)), V(offsetof(netif_tx_request_t, id)),
	V(offsetof(netif_tx_request_t, size)), V(sizeof(netif_tx_response_t)),
	V(offsetof(netif_tx_response_t, status)), V(sizeof(netif_rx_request_t)),
	V(offsetof(netif_rx_request_t, gref)), V(sizeof(netif_rx_response_t)),
	V(offsetof(netif_rx_response_t, offset)), V(offsetof(netif_rx_response_t, flags)),
	V(offsetof(netif_rx_response_t, status)), V(sizeof(netif_extra_info_t)),
	V(offsetof(netif_extra_info_t, u)), V(offsetof(netif_extra_info_t, u.gso.type)),
	V(offsetof(netif_extra_info_t, u.gso.features)), V(offsetof(netif_extra_info_t, u.hash.value)),
	V(sizeof(struct xen_netif_ctrl_request)), V(offsetof(struct xen_netif_ctrl_request, data)),
	V(sizeof(struct xen_netif_ctrl_response)), V(offsetof(struct xen_netif_ctrl_response, data)),
	V(sizeof(struct xen_netif_gref)), V(offsetof(struct xen_netif_gref, status)),
	V(__CONST_RING_SIZE(netif_tx, 4096)), V(__CONST_RING_SIZE(netif_rx, 4096)),
	V(XEN_NETIF_NR_SLOTS_MIN), V(XEN_NETIF_MAX_TX_SIZE),
	V(NETTXF_csum_blank), V(NETTXF_data_validated), V(NETTXF_more_data), V(NETTXF_extra_info),
	V(NETRXF_data_validated), V(NETRXF_csum_blank), V(NETRXF_more_data), V(NETRXF_extra_info),
	V(NETRXF_gso_prefix), V(NETIF_RSP_DROPPED), V(NETIF_RSP_ERROR), V(NETIF_RSP_NULL),
	V(XEN_NETIF_EXTRA_TYPE_GSO), V(XEN_NETIF_EXTRA_TYPE_MCAST_ADD), V(XEN_NETIF_EXTRA_TYPE_MCAST_DEL),
	V(XEN_NETIF_EXTRA_TYPE_HASH), V(XEN_NETIF_EXTRA_FLAG_MORE), V(XEN_NETIF_GSO_TYPE_TCPV4),
	V(XEN_NETIF_GSO_TYPE_TCPV6),
	V(XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS), V(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY),
	V(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING), V(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM),
	V(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING), V(XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW),
	V(XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ), V(XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP),
	V(XEN_NETIF_CTRLF_GREF_readonly),

	V(sizeof(grant_entry_v1_t)), V(offsetof(grant_entry_v1_t, frame)), V(sizeof(grant_entry_v2_t)),
	V(offsetof(grant_entry_v2_t, full_page.frame)), V(sizeof(grant_status_t)),
	V(GTF_permit_access), V(GTF_type_mask), V(GTF_readonly), V(GTF_reading), V(GTF_writing),
	V(GNTTAB_NR_RESERVED_ENTRIES),

	V(EVTCHN_2L_NR_CHANNELS), V(EVTCHN_FIFO_NR_CHANNELS), V(EVTCHN_FIFO_LINK_MASK),
	V(EVTCHN_FIFO_PENDING), V(EVTCHN_FIFO_MASKED), V(EVTCHN_FIFO_LINKED), V(EVTCHN_FIFO_BUSY),
	V(EVTCHN_FIFO_MAX_QUEUES), V(EVTCHN_FIFO_PRIORITY_DEFAULT),
	V(sizeof(evtchn_fifo_control_block_t)), V(offsetof(evtchn_fifo_control_block_t, head)),
	V(offsetof(struct vcpu_info, evtchn_pending_sel)), V(sizeof(struct vcpu_info)),
	V(offsetof(struct shared_info, evtchn_pending)), V(offsetof(struct shared_info, evtchn_mask)),

	V(sizeof(struct xsd_sockmsg)), V(offsetof(struct xsd_sockmsg, tx_id)),
	V(offsetof(struct xenstore_domain_interface, rsp_prod)),
	V(offsetof(struct xenstore_domain_interface, error)),
	V(XS_WATCH_EVENT), V(XS_ERROR), V(XS_RESET_WATCHES), V(XS_DIRECTORY_PART), V(XS_TRANSACTION_END),
	V(XENSTORE_PAYLOAD_MAX), V(XENSTORE_ABS_PATH_MAX), V(XENSTORE_REL_PATH_MAX),
	{ NULL, 0 },
};

/* The errors that the header names, ended by a null name. */
const char *peer_xsd_error(unsigned int index, int *number)
{
	if (index >= sizeof(xsd_errors) / sizeof(xsd_errors[0]))
		return NULL;
	*number = xsd_errors[index].errnum;
	return xsd_errors[index].errstring;
}
