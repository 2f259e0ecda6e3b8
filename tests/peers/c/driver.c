// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A block driver's request path in C, on Xen's macros: what the core's engine does for a request of
 * direct segments with a grant each, check for check and counter for counter. What it cannot do is
 * indirect segments, copying, flush and discard. The yardstick of the engine benchmark.
 *
 * Granting and ending access are functions that the engine's host calls too: in Linux both drivers call
 * the kernel's.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

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

#define ENTRIES 32
#define GRANTS (ENTRIES * BLKIF_MAX_SEGMENTS_PER_REQUEST)

/* A request of the operating system, also `Io` in benches/engine.rs. */
struct peer_io {
	uint64_t sector;
	uint32_t write;
	uint32_t segments;
	struct {
		uint64_t gfn;
		uint32_t offset;
		uint32_t len;
	} segment[BLKIF_MAX_SEGMENTS_PER_REQUEST];
};

enum outcome { DONE, FAILED };

struct shadow {
	const struct peer_io *io;
	uint64_t sector;
	/* High half of the id: an answer to an earlier request of this slot is not believed. */
	uint32_t generation;
	/* Ring requests not yet answered; this driver never needs a second. */
	uint16_t parts;
	uint8_t operation;
	uint8_t waiting;
	uint8_t segments;
	uint8_t outcome;
	uint8_t then_flush;
	grant_ref_t gref[BLKIF_MAX_SEGMENTS_PER_REQUEST];
};

struct peer_driver {
	blkif_front_ring_t ring;
	grant_entry_v1_t *table;
	uint32_t free;
	uint32_t spare;
	uint32_t idle;
	uint8_t closed;
	uint8_t broken;
	uint8_t flush;
	uint64_t requests, segments, ring_full, notifications, notifications_saved, grants, failed;
	RING_IDX pushed;
	struct shadow shadow[ENTRIES];
	uint16_t slots[ENTRIES];
	grant_ref_t refs[GRANTS];
};

void peer_grant(grant_entry_v1_t *table, grant_ref_t gref, uint64_t gfn, int readonly)
{
	table[gref].frame = (uint32_t)gfn;
	table[gref].domid = 0;
	xen_wmb();
	*(volatile uint16_t *)&table[gref].flags = GTF_permit_access | (readonly ? GTF_readonly : 0);
}

int peer_end(grant_entry_v1_t *table, grant_ref_t gref)
{
	uint16_t flags = *(volatile uint16_t *)&table[gref].flags;

	do {
		if (flags & (GTF_reading | GTF_writing))
			return 0;
	} while (!__atomic_compare_exchange_n(&table[gref].flags, &flags, 0, 0, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	return 1;
}

struct peer_driver *peer_driver_new(void *memory, void *table)
{
	struct peer_driver *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	XEN_FRONT_RING_INIT(&d->ring, (blkif_sring_t *)memory, 4096);
	d->table = table;
	for (unsigned int i = 0; i < ENTRIES; i++)
		d->slots[i] = ENTRIES - 1 - i;
	d->free = ENTRIES;
	for (unsigned int i = 0; i < GRANTS; i++)
		d->refs[i] = 8 + i;
	d->spare = GRANTS;
	return d;
}

void peer_driver_free(struct peer_driver *d)
{
	free(d);
}

/* 0: the segments do not make sense. */
static unsigned int count_whole(const struct peer_io *io)
{
	for (unsigned int i = 0; i < io->segments; i++) {
		uint32_t offset = io->segment[i].offset, len = io->segment[i].len;

		if ((offset | len) % 512 || !len || (uint64_t)offset + len > 4096)
			return 0;
	}
	return io->segments;
}

/* 1: written; 0: not taken. */
int peer_driver_submit(struct peer_driver *d, const struct peer_io *io)
{
	unsigned int total;
	struct shadow *shadow;
	blkif_request_t *req;
	uint16_t slot;

	if (d->closed || d->broken)
		return 0;
	total = count_whole(io);
	if (!total || total > BLKIF_MAX_SEGMENTS_PER_REQUEST)
		return 0;
	if (!d->free || RING_FULL(&d->ring) || d->spare < total) {
		d->ring_full++;
		return 0;
	}
	if (d->spare - total < d->idle)
		d->idle = d->spare - total;
	slot = d->slots[--d->free];
	shadow = &d->shadow[slot];
	shadow->generation++;
	shadow->waiting = 1;
	shadow->operation = io->write ? BLKIF_OP_WRITE : BLKIF_OP_READ;
	shadow->segments = total;
	shadow->sector = io->sector;
	shadow->parts = 1;
	shadow->then_flush = 0;
	shadow->outcome = DONE;
	shadow->io = io;
	d->requests++;
	d->segments += total;
	d->grants += total;

	req = RING_GET_REQUEST(&d->ring, d->ring.req_prod_pvt);
	req->operation = shadow->operation;
	req->nr_segments = total;
	req->handle = 51712;
	req->id = (uint64_t)shadow->generation << 32 | slot;
	req->sector_number = io->sector;
	for (unsigned int i = 0; i < total; i++) {
		grant_ref_t gref = d->refs[--d->spare];
		uint32_t first = io->segment[i].offset >> 9;

		peer_grant(d->table, gref, io->segment[i].gfn, io->write);
		shadow->gref[i] = gref;
		req->seg[i].gref = gref;
		req->seg[i].first_sect = first;
		req->seg[i].last_sect = first + (io->segment[i].len >> 9) - 1;
	}
	d->ring.req_prod_pvt++;
	return 1;
}

int peer_driver_push(struct peer_driver *d)
{
	RING_IDX pushed = d->ring.req_prod_pvt - d->pushed;
	int notify;

	if (!pushed || d->broken)
		return 0;
	d->pushed = d->ring.req_prod_pvt;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&d->ring, notify);
	d->notifications += notify;
	d->notifications_saved += pushed - notify;
	return notify;
}

/* The request that is complete, if `rsp` is its answer; a back end that lies breaks the driver. */
static const struct peer_io *answer(struct peer_driver *d, const blkif_response_t *rsp, int *outcome)
{
	uint16_t slot = rsp->id;
	struct shadow *shadow;

	if (slot >= ENTRIES)
		goto broken;
	shadow = &d->shadow[slot];
	if (!shadow->waiting || rsp->id != ((uint64_t)shadow->generation << 32 | slot))
		goto broken;
	if (shadow->operation != rsp->operation)
		goto broken;
	for (unsigned int i = 0; i < shadow->segments; i++) {
		if (!peer_end(d->table, shadow->gref[i]))
			goto broken;
		d->refs[d->spare++] = shadow->gref[i];
		shadow->gref[i] = 0;
	}
	if (rsp->status != BLKIF_RSP_OKAY) {
		d->failed++;
		shadow->outcome = FAILED;
	}
	shadow->waiting = 0;
	if (--shadow->parts || (shadow->then_flush && d->flush))
		return NULL;
	d->slots[d->free++] = slot;
	*outcome = shadow->outcome;
	return shadow->io;
broken:
	d->broken = 1;
	return NULL;
}

/* Takes all responses and completes their requests: a sum over them goes to `sum`. 0: all right. */
int peer_driver_reap(struct peer_driver *d, uint64_t *sum)
{
	int work;

	do {
		RING_IDX prod = *(volatile RING_IDX *)&d->ring.sring->rsp_prod;

		xen_rmb();
		if (RING_RESPONSE_PROD_OVERFLOW(&d->ring, prod))
			return -1;
		while (d->ring.rsp_cons != prod) {
			const struct peer_io *io;
			blkif_response_t rsp;
			int outcome;

			RING_COPY_RESPONSE(&d->ring, d->ring.rsp_cons, &rsp);
			d->ring.rsp_cons++;
			io = answer(d, &rsp, &outcome);
			if (d->broken)
				return -1;
			if (io)
				*sum += io->sector + (outcome == DONE);
		}
		RING_FINAL_CHECK_FOR_RESPONSES(&d->ring, work);
	} while (work);
	return 0;
}
