// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A block driver's request path in C, on Xen's macros: what the core's engine does for a request of
 * direct segments with a grant each, and nothing else. The yardstick of the engine benchmark.
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

struct shadow {
	const struct peer_io *io;
	uint32_t next_free;
	uint8_t operation;
	uint8_t waiting;
	uint8_t segments;
	grant_ref_t gref[BLKIF_MAX_SEGMENTS_PER_REQUEST];
};

struct peer_driver {
	blkif_front_ring_t ring;
	grant_entry_v1_t *table;
	uint32_t first_free;
	uint32_t spare;
	struct shadow shadow[ENTRIES];
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
		d->shadow[i].next_free = i + 1;
	for (unsigned int i = 0; i < GRANTS; i++)
		d->refs[i] = 8 + i;
	d->spare = GRANTS;
	return d;
}

void peer_driver_free(struct peer_driver *d)
{
	free(d);
}

/* 1: written; 0: the ring is full or there are too few grants. */
int peer_driver_submit(struct peer_driver *d, const struct peer_io *io)
{
	uint32_t id = d->first_free;
	struct shadow *shadow;
	blkif_request_t *req;

	if (RING_FULL(&d->ring) || id >= ENTRIES || d->spare < io->segments)
		return 0;
	if (!io->segments || io->segments > BLKIF_MAX_SEGMENTS_PER_REQUEST)
		return 0;
	shadow = &d->shadow[id];
	d->first_free = shadow->next_free;
	shadow->io = io;
	shadow->operation = io->write ? BLKIF_OP_WRITE : BLKIF_OP_READ;
	shadow->waiting = 1;
	shadow->segments = io->segments;

	req = RING_GET_REQUEST(&d->ring, d->ring.req_prod_pvt);
	req->operation = shadow->operation;
	req->nr_segments = io->segments;
	req->handle = 51712;
	req->id = id;
	req->sector_number = io->sector;
	for (unsigned int i = 0; i < io->segments; i++) {
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
	int notify;

	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&d->ring, notify);
	return notify;
}

/* Takes all responses and hands each request that is complete to `done`. 0: all right. */
int peer_driver_reap(struct peer_driver *d, void (*done)(void *, const struct peer_io *, int), void *to)
{
	int work;

	do {
		RING_IDX prod = *(volatile RING_IDX *)&d->ring.sring->rsp_prod;

		xen_rmb();
		if (RING_RESPONSE_PROD_OVERFLOW(&d->ring, prod))
			return -1;
		while (d->ring.rsp_cons != prod) {
			blkif_response_t rsp;
			struct shadow *shadow;

			RING_COPY_RESPONSE(&d->ring, d->ring.rsp_cons, &rsp);
			d->ring.rsp_cons++;
			if (rsp.id >= ENTRIES)
				return -1;
			shadow = &d->shadow[rsp.id];
			if (!shadow->waiting || shadow->operation != rsp.operation)
				return -1;
			for (unsigned int i = 0; i < shadow->segments; i++) {
				if (!peer_end(d->table, shadow->gref[i]))
					return -1;
				d->refs[d->spare++] = shadow->gref[i];
			}
			shadow->waiting = 0;
			shadow->next_free = d->first_free;
			d->first_free = rsp.id;
			done(to, shadow->io, rsp.status);
		}
		RING_FINAL_CHECK_FOR_RESPONSES(&d->ring, work);
	} while (work);
	return 0;
}
