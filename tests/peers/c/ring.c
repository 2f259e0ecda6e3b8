// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Both sides of a block ring, made of nothing but the macros of xen/io/ring.h and the types of
 * xen/io/blkif.h. Each function is one step, so that a test can interleave the two sides.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What Linux uses on x86: a locked operation as full barrier, compiler barriers for the others. */
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
#include <xen/io/blkif.h>

/* Read an index once, as READ_ONCE does. */
#define ONCE(x) (*(volatile RING_IDX *)&(x))

_Static_assert(sizeof(blkif_front_ring_t) <= 4 * sizeof(uint64_t), "PeerRing in lib.rs");
_Static_assert(sizeof(blkif_back_ring_t) <= 4 * sizeof(uint64_t), "PeerRing in lib.rs");

void peer_front_init(blkif_front_ring_t *r, void *memory, size_t size, RING_IDX start)
{
	blkif_sring_t *s = memory;

	SHARED_RING_INIT(s);
	s->req_prod = s->rsp_prod = start;
	s->req_event = s->rsp_event = start + 1;
	FRONT_RING_ATTACH(r, s, start, size);
}

unsigned int peer_front_free(blkif_front_ring_t *r)
{
	return RING_FREE_REQUESTS(r);
}

int peer_front_put(blkif_front_ring_t *r, const blkif_request_t *req)
{
	if (RING_FULL(r))
		return 0;
	*RING_GET_REQUEST(r, r->req_prod_pvt) = *req;
	r->req_prod_pvt++;
	return 1;
}

int peer_front_push(blkif_front_ring_t *r)
{
	int notify;

	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(r, notify);
	return notify;
}

/* 1: taken; 0: there is none; -1: the producer index cannot be. */
int peer_front_get(blkif_front_ring_t *r, blkif_response_t *rsp)
{
	RING_IDX prod = ONCE(r->sring->rsp_prod);

	xen_rmb();
	if (RING_RESPONSE_PROD_OVERFLOW(r, prod))
		return -1;
	if (prod == r->rsp_cons)
		return 0;
	RING_COPY_RESPONSE(r, r->rsp_cons, rsp);
	r->rsp_cons++;
	return 1;
}

int peer_front_final_check(blkif_front_ring_t *r)
{
	int work;

	RING_FINAL_CHECK_FOR_RESPONSES(r, work);
	return !!work;
}

void peer_back_attach(blkif_back_ring_t *r, void *memory, size_t size)
{
	blkif_sring_t *s = memory;

	BACK_RING_ATTACH(r, s, ONCE(s->rsp_prod), size);
}

int peer_back_get(blkif_back_ring_t *r, blkif_request_t *req)
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

void peer_back_put(blkif_back_ring_t *r, const blkif_response_t *rsp)
{
	*RING_GET_RESPONSE(r, r->rsp_prod_pvt) = *rsp;
	r->rsp_prod_pvt++;
}

int peer_back_push(blkif_back_ring_t *r)
{
	int notify;

	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(r, notify);
	return notify;
}

int peer_back_final_check(blkif_back_ring_t *r)
{
	int work;

	RING_FINAL_CHECK_FOR_REQUESTS(r, work);
	return !!work;
}

/* For benchmarks: a driver fills `batch` requests in place and pushes them. Whether to notify. */
int peer_front_submit(blkif_front_ring_t *f, uint64_t id, unsigned int batch)
{
	int notify;

	for (unsigned int i = 0; i < batch && !RING_FULL(f); i++) {
		blkif_request_t *req = RING_GET_REQUEST(f, f->req_prod_pvt);

		req->operation = BLKIF_OP_WRITE;
		req->nr_segments = 1;
		req->handle = 51712;
		req->id = id;
		req->sector_number = id << 3;
		req->seg[0].gref = (grant_ref_t)id;
		req->seg[0].first_sect = 0;
		req->seg[0].last_sect = 7;
		f->req_prod_pvt++;
		id++;
	}
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(f, notify);
	return notify;
}

/* For benchmarks: takes all responses. A sum over what was seen, 0 for a broken ring. */
uint64_t peer_front_reap(blkif_front_ring_t *f)
{
	uint64_t sum = 0;
	int work;

	do {
		RING_IDX prod = ONCE(f->sring->rsp_prod);

		xen_rmb();
		if (RING_RESPONSE_PROD_OVERFLOW(f, prod))
			return 0;
		while (f->rsp_cons != prod) {
			blkif_response_t rsp;

			RING_COPY_RESPONSE(f, f->rsp_cons, &rsp);
			f->rsp_cons++;
			sum += rsp.id + (rsp.status == BLKIF_RSP_OKAY);
		}
		RING_FINAL_CHECK_FOR_RESPONSES(f, work);
	} while (work);
	return sum;
}

/* For benchmarks: a back end takes all requests and answers them in order. Whether to notify. */
int peer_back_answer(blkif_back_ring_t *b)
{
	int notify, work;

	do {
		RING_IDX prod = ONCE(b->sring->req_prod);

		xen_rmb();
		if (RING_REQUEST_PROD_OVERFLOW(b, prod))
			return 0;
		while (b->req_cons != prod) {
			blkif_request_t req;
			blkif_response_t *rsp;

			RING_COPY_REQUEST(b, b->req_cons, &req);
			b->req_cons++;
			rsp = RING_GET_RESPONSE(b, b->rsp_prod_pvt);
			rsp->id = req.id;
			rsp->operation = req.operation;
			rsp->status = BLKIF_RSP_OKAY;
			b->rsp_prod_pvt++;
		}
		RING_FINAL_CHECK_FOR_REQUESTS(b, work);
	} while (work);
	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(b, notify);
	return notify;
}
