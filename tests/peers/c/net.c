// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The back end's side of a pair of net rings, made of nothing but the macros of xen/io/ring.h and the
 * types of xen/io/netif.h. Each function is one step.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define xen_mb() __asm__ volatile("lock addl $0, -4(%%rsp)" ::: "memory", "cc")
#define xen_rmb() __asm__ volatile("" ::: "memory")
#define xen_wmb() __asm__ volatile("" ::: "memory")
#else
#define xen_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/event_channel.h>
#include <xen/io/ring.h>
#include <xen/io/netif.h>

/* Read an index once, as READ_ONCE does. */
#define ONCE(x) (*(volatile RING_IDX *)&(x))

_Static_assert(sizeof(netif_tx_back_ring_t) <= 4 * sizeof(uint64_t), "PeerRing in c.rs");
_Static_assert(sizeof(netif_rx_back_ring_t) <= 4 * sizeof(uint64_t), "PeerRing in c.rs");

void peer_tx_attach(netif_tx_back_ring_t *r, void *memory, size_t size)
{
	netif_tx_sring_t *s = memory;

	BACK_RING_ATTACH(r, s, ONCE(s->rsp_prod), size);
}

/* 1: taken; 0: there is none; -1: the producer index cannot be. */
int peer_tx_get(netif_tx_back_ring_t *r, netif_tx_request_t *req)
{
	RING_IDX prod = ONCE(r->sring->req_prod);

	xen_rmb();
	if (RING_REQUEST_PROD_OVERFLOW(r, prod))
		return -1;
	if (prod == r->req_cons || RING_REQUEST_CONS_OVERFLOW(r, r->req_cons))
		return 0;
	RING_COPY_REQUEST(r, r->req_cons, req);
	r->req_cons++;
	return 1;
}

void peer_tx_put(netif_tx_back_ring_t *r, uint16_t id, int16_t status)
{
	netif_tx_response_t *rsp = RING_GET_RESPONSE(r, r->rsp_prod_pvt);

	rsp->id = id;
	rsp->status = status;
	r->rsp_prod_pvt++;
}

int peer_tx_push(netif_tx_back_ring_t *r)
{
	int notify;

	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(r, notify);
	return notify;
}

int peer_tx_final_check(netif_tx_back_ring_t *r)
{
	int work;

	RING_FINAL_CHECK_FOR_REQUESTS(r, work);
	return !!work;
}

void peer_rx_attach(netif_rx_back_ring_t *r, void *memory, size_t size)
{
	netif_rx_sring_t *s = memory;

	BACK_RING_ATTACH(r, s, ONCE(s->rsp_prod), size);
}

int peer_rx_get(netif_rx_back_ring_t *r, netif_rx_request_t *req)
{
	RING_IDX prod = ONCE(r->sring->req_prod);

	xen_rmb();
	if (RING_REQUEST_PROD_OVERFLOW(r, prod))
		return -1;
	if (prod == r->req_cons || RING_REQUEST_CONS_OVERFLOW(r, r->req_cons))
		return 0;
	RING_COPY_REQUEST(r, r->req_cons, req);
	r->req_cons++;
	return 1;
}

void peer_rx_put(netif_rx_back_ring_t *r, const netif_rx_response_t *rsp)
{
	*RING_GET_RESPONSE(r, r->rsp_prod_pvt) = *rsp;
	r->rsp_prod_pvt++;
}

void peer_rx_put_gso(netif_rx_back_ring_t *r, uint16_t size, uint8_t type)
{
	netif_extra_info_t *extra = (void *)RING_GET_RESPONSE(r, r->rsp_prod_pvt);

	memset(extra, 0, sizeof(*extra));
	extra->type = XEN_NETIF_EXTRA_TYPE_GSO;
	extra->u.gso.size = size;
	extra->u.gso.type = type;
	r->rsp_prod_pvt++;
}

int peer_rx_push(netif_rx_back_ring_t *r)
{
	int notify;

	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(r, notify);
	return notify;
}

int peer_rx_final_check(netif_rx_back_ring_t *r)
{
	int work;

	RING_FINAL_CHECK_FOR_REQUESTS(r, work);
	return !!work;
}

/* For benchmarks: takes all packets and answers them in order. Whether to notify. */
int peer_tx_answer(netif_tx_back_ring_t *b)
{
	int notify, work;

	do {
		RING_IDX prod = ONCE(b->sring->req_prod);

		xen_rmb();
		if (RING_REQUEST_PROD_OVERFLOW(b, prod))
			return 0;
		while (b->req_cons != prod) {
			netif_tx_request_t req;

			RING_COPY_REQUEST(b, b->req_cons, &req);
			b->req_cons++;
			peer_tx_put(b, req.id, NETIF_RSP_OKAY);
			if (req.flags & NETTXF_extra_info) {
				b->req_cons++;
				peer_tx_put(b, 0, NETIF_RSP_NULL);
			}
		}
		RING_FINAL_CHECK_FOR_REQUESTS(b, work);
	} while (work);
	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(b, notify);
	return notify;
}

/* For benchmarks: passes on `frames` frames of `slots` pages, cut in segments if more than one. */
int peer_rx_give(netif_rx_back_ring_t *b, unsigned int frames, unsigned int slots)
{
	int notify, work;

	while (frames--) {
		for (unsigned int i = 0; i < slots; i++) {
			netif_rx_response_t rsp = { .flags = NETRXF_data_validated };
			netif_rx_request_t req;

			if (peer_rx_get(b, &req) != 1)
				return -1;
			rsp.id = req.id;
			rsp.status = slots > 1 ? 4096 : 1514;
			if (i + 1 < slots)
				rsp.flags |= NETRXF_more_data;
			if (!i && slots > 1)
				rsp.flags |= NETRXF_extra_info;
			peer_rx_put(b, &rsp);
			if (!i && slots > 1) {
				if (peer_rx_get(b, &req) != 1)
					return -1;
				peer_rx_put_gso(b, 1448, XEN_NETIF_GSO_TYPE_TCPV4);
			}
		}
	}
	RING_FINAL_CHECK_FOR_REQUESTS(b, work);
	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(b, notify);
	return notify;
}
