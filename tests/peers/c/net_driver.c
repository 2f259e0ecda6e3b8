// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A net driver's two ways in C, on Xen's macros: what the core's engines do, check for check and counter
 * for counter, but for hashes, multicast lists and XDP, which the benchmark does not use. A frame that
 * is wrong in any way breaks this driver, so that it need not know how to put buffers back. The yardstick
 * of the net benchmark.
 *
 * Granting and ending access are functions that the engines' host calls too: in Linux both drivers call
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
#include <xen/io/netif.h>

#define ENTRIES 256
#define MAX_FRAGMENTS XEN_NETIF_NR_SLOTS_MIN
#define NONE 0xffff
#define ETH_HLEN 14

void peer_grant(grant_entry_v1_t *table, grant_ref_t gref, uint64_t gfn, int readonly);
int peer_end(grant_entry_v1_t *table, grant_ref_t gref);

/* A packet of the operating system, also `Packet` in benches/net. */
struct peer_packet {
	uint32_t len;
	uint32_t fragments;
	uint32_t csum_blank;
	uint32_t gso_size;
	struct {
		uint64_t gfn;
		uint32_t offset;
		uint32_t len;
	} fragment[MAX_FRAGMENTS];
};

struct tx_slot {
	const struct peer_packet *packet;
	grant_ref_t gref;
	/* While idle the next idle slot, else the slot with the packet. */
	uint16_t link;
	uint8_t waiting;
	uint8_t left;
	uint8_t failed;
};

struct peer_tx {
	netif_tx_front_ring_t ring;
	grant_entry_v1_t *table;
	uint16_t idle;
	uint8_t closed, broken, sg, gso;
	uint32_t extras;
	uint64_t packets, slots, gsos, ring_full, notifications, notifications_saved, failed;
	RING_IDX pushed;
	struct tx_slot slot[ENTRIES];
};

struct peer_tx *peer_tx_new(void *memory, void *table)
{
	struct peer_tx *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	XEN_FRONT_RING_INIT(&d->ring, (netif_tx_sring_t *)memory, 4096);
	d->table = table;
	d->sg = d->gso = 1;
	for (unsigned int i = 0; i < ENTRIES; i++) {
		d->slot[i].gref = 8 + i;
		d->slot[i].link = i + 1 < ENTRIES ? i + 1 : NONE;
	}
	return d;
}

void peer_tx_free(struct peer_tx *d)
{
	free(d);
}

/* 1: written; 0: not taken, and nothing has changed. */
int peer_tx_submit(struct peer_tx *d, const struct peer_packet *packet)
{
	unsigned int count = packet->fragments, slots = count + !!packet->gso_size;
	uint16_t head = d->idle, flags = 0;
	uint32_t sum = 0;

	if (d->closed || packet->len < ETH_HLEN || packet->len > XEN_NETIF_MAX_TX_SIZE)
		return 0;
	if (!count || count > MAX_FRAGMENTS || packet->fragment[0].len < ETH_HLEN)
		return 0;
	if ((count > 1 && !d->sg) || (packet->gso_size && !d->gso))
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		uint32_t offset = packet->fragment[i].offset, len = packet->fragment[i].len;

		if (!len || offset > 4096 || len > 4096 - offset)
			return 0;
		sum += len;
	}
	if (sum != packet->len)
		return 0;
	if (RING_FREE_REQUESTS(&d->ring) < slots) {
		d->ring_full++;
		return 0;
	}
	if (packet->csum_blank)
		flags = NETTXF_csum_blank | NETTXF_data_validated;
	if (packet->gso_size)
		flags |= NETTXF_extra_info;
	for (unsigned int i = 0; i < count; i++) {
		uint16_t id = d->idle;
		struct tx_slot *slot = &d->slot[id];
		netif_tx_request_t *req = RING_GET_REQUEST(&d->ring, d->ring.req_prod_pvt);

		d->ring.req_prod_pvt++;
		d->idle = slot->link;
		slot->link = head;
		slot->waiting = 1;
		req->gref = slot->gref;
		req->offset = packet->fragment[i].offset;
		req->flags = flags | (i + 1 < count ? NETTXF_more_data : 0);
		req->id = id;
		req->size = i ? packet->fragment[i].len : packet->len;
		peer_grant(d->table, slot->gref, packet->fragment[i].gfn, 1);
		if (!i && packet->gso_size) {
			netif_extra_info_t *extra = (netif_extra_info_t *)RING_GET_REQUEST(
				&d->ring, d->ring.req_prod_pvt);

			d->ring.req_prod_pvt++;
			extra->type = XEN_NETIF_EXTRA_TYPE_GSO;
			extra->flags = 0;
			extra->u.gso.size = packet->gso_size;
			extra->u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
			extra->u.gso.pad = 0;
			extra->u.gso.features = 0;
			d->extras++;
			d->gsos++;
		}
		flags = 0;
	}
	d->slot[head].packet = packet;
	d->slot[head].left = count;
	d->slot[head].failed = 0;
	d->packets++;
	return 1;
}

int peer_tx_kick(struct peer_tx *d)
{
	RING_IDX pushed = d->ring.req_prod_pvt - d->pushed;
	int notify;

	if (!pushed || d->broken)
		return 0;
	d->pushed = d->ring.req_prod_pvt;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&d->ring, notify);
	d->slots += pushed;
	d->notifications += notify;
	d->notifications_saved += pushed - notify;
	return notify;
}

/* Takes all responses; a sum over the packets that are answered. 0: broken. */
uint64_t peer_tx_reap(struct peer_tx *d)
{
	uint64_t sum = 0;
	int work;

	do {
		RING_IDX prod = *(volatile RING_IDX *)&d->ring.sring->rsp_prod;

		xen_rmb();
		if (RING_RESPONSE_PROD_OVERFLOW(&d->ring, prod))
			goto broken;
		while (d->ring.rsp_cons != prod) {
			netif_tx_response_t rsp;
			struct tx_slot *slot;
			uint16_t head;

			RING_COPY_RESPONSE(&d->ring, d->ring.rsp_cons, &rsp);
			d->ring.rsp_cons++;
			if (rsp.status == NETIF_RSP_NULL) {
				if (!d->extras)
					goto broken;
				d->extras--;
				continue;
			}
			if (rsp.id >= ENTRIES)
				goto broken;
			slot = &d->slot[rsp.id];
			if (!slot->waiting || !peer_end(d->table, slot->gref))
				goto broken;
			slot->waiting = 0;
			head = slot->link;
			if (head != rsp.id) {
				slot->link = d->idle;
				d->idle = rsp.id;
				slot = &d->slot[head];
			}
			if (rsp.status != NETIF_RSP_OKAY)
				slot->failed = 1;
			if (--slot->left)
				continue;
			slot->link = d->idle;
			d->idle = head;
			d->failed += slot->failed;
			sum += slot->packet->len + !slot->failed;
			slot->packet = NULL;
		}
		RING_FINAL_CHECK_FOR_RESPONSES(&d->ring, work);
	} while (work);
	return sum;
broken:
	d->broken = d->closed = 1;
	return 0;
}

/* A page to receive into, also `Buffer` in benches/net. */
struct peer_buffer {
	uint64_t gfn;
};

struct piece {
	uint16_t slot, offset, len;
};

struct peer_rx {
	netif_rx_front_ring_t ring;
	grant_entry_v1_t *table;
	uint8_t closed, broken;
	RING_IDX pushed;
	uint64_t frames, fragments, bytes, gsos, buffers, reposted, notifications, notifications_saved;
	struct {
		struct peer_buffer *buffer;
		grant_ref_t gref;
	} slot[ENTRIES];
	struct piece piece[MAX_FRAGMENTS];
	/* The operating system's free pages. */
	unsigned int pages;
	struct peer_buffer *pool[ENTRIES];
	struct peer_buffer buffer[ENTRIES];
};

struct peer_rx *peer_rx_new(void *memory, void *table)
{
	struct peer_rx *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	XEN_FRONT_RING_INIT(&d->ring, (netif_rx_sring_t *)memory, 4096);
	d->table = table;
	for (unsigned int i = 0; i < ENTRIES; i++) {
		d->slot[i].gref = 8 + i;
		d->buffer[i].gfn = 1000 + i;
		d->pool[i] = &d->buffer[i];
	}
	d->pages = ENTRIES;
	return d;
}

void peer_rx_free(struct peer_rx *d)
{
	free(d);
}

int peer_rx_refill(struct peer_rx *d)
{
	RING_IDX pushed;
	int notify;

	while (!d->closed && !RING_FULL(&d->ring) && d->pages) {
		unsigned int id = d->ring.req_prod_pvt & (ENTRIES - 1);
		netif_rx_request_t *req = RING_GET_REQUEST(&d->ring, d->ring.req_prod_pvt);
		struct peer_buffer *buffer = d->pool[--d->pages];

		d->ring.req_prod_pvt++;
		req->id = id;
		req->pad = 0;
		req->gref = d->slot[id].gref;
		d->slot[id].buffer = buffer;
		d->buffers++;
		peer_grant(d->table, d->slot[id].gref, buffer->gfn, 0);
	}
	pushed = d->ring.req_prod_pvt - d->pushed;
	if (!pushed || d->broken)
		return 0;
	d->pushed = d->ring.req_prod_pvt;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&d->ring, notify);
	d->notifications += notify;
	d->notifications_saved += pushed - notify;
	return notify;
}

/* Takes over a data slot; 0: it is wrong. */
static int take_piece(struct peer_rx *d, RING_IDX index, const netif_rx_response_t *rsp, unsigned int count,
		      uint32_t *total)
{
	unsigned int id = index & (ENTRIES - 1);
	uint32_t len = rsp->status;

	if (rsp->id != id || count >= MAX_FRAGMENTS)
		return 0;
	if (len - 1 >= 4096 || rsp->offset > 4096 - len)
		return 0;
	d->piece[count].slot = id;
	d->piece[count].offset = rsp->offset;
	d->piece[count].len = len;
	*total += len;
	return 1;
}

/* Puts the buffer of a slot of extra information back into the ring. */
static void repost(struct peer_rx *d, RING_IDX from)
{
	unsigned int id = d->ring.req_prod_pvt & (ENTRIES - 1), old = from & (ENTRIES - 1);
	netif_rx_request_t *req = RING_GET_REQUEST(&d->ring, d->ring.req_prod_pvt);
	struct peer_buffer *buffer = d->slot[old].buffer;
	grant_ref_t gref = d->slot[old].gref;

	d->ring.req_prod_pvt++;
	d->slot[old].buffer = d->slot[id].buffer;
	d->slot[old].gref = d->slot[id].gref;
	d->slot[id].buffer = buffer;
	d->slot[id].gref = gref;
	req->id = id;
	req->pad = 0;
	req->gref = gref;
	d->reposted++;
}

/* Takes up to `budget` frames; a sum over them, 0: broken. */
uint64_t peer_rx_receive(struct peer_rx *d, unsigned int budget)
{
	RING_IDX prod = *(volatile RING_IDX *)&d->ring.sring->rsp_prod;
	uint64_t sum = 0;

	xen_rmb();
	if (RING_RESPONSE_PROD_OVERFLOW(&d->ring, prod))
		goto broken;
	while (budget && d->ring.rsp_cons != prod) {
		RING_IDX cons = d->ring.rsp_cons, end = cons;
		unsigned int count = 0, extras = 0, gso_size = 0;
		netif_rx_response_t first, rsp;
		uint32_t len = 0;

		RING_COPY_RESPONSE(&d->ring, end, &first);
		if (!take_piece(d, end++, &first, count++, &len))
			goto broken;
		if (first.flags & NETRXF_extra_info) {
			netif_extra_info_t extra;

			do {
				if (end == prod)
					return sum;
				RING_COPY_RESPONSE(&d->ring, end++, (netif_rx_response_t *)&extra);
				if (++extras >= XEN_NETIF_EXTRA_TYPE_MAX || extra.type != XEN_NETIF_EXTRA_TYPE_GSO ||
				    gso_size)
					goto broken;
				if (extra.u.gso.type != XEN_NETIF_GSO_TYPE_TCPV4 &&
				    extra.u.gso.type != XEN_NETIF_GSO_TYPE_TCPV6)
					goto broken;
				gso_size = extra.u.gso.size;
				if (!gso_size)
					goto broken;
			} while (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE);
		}
		rsp = first;
		while (rsp.flags & NETRXF_more_data) {
			if (end == prod)
				return sum;
			RING_COPY_RESPONSE(&d->ring, end, &rsp);
			if (!take_piece(d, end++, &rsp, count++, &len))
				goto broken;
		}
		if (len < ETH_HLEN)
			goto broken;
		for (unsigned int i = 0; i < count; i++)
			if (!peer_end(d->table, d->slot[d->piece[i].slot].gref))
				goto broken;
		d->ring.rsp_cons = end;
		d->frames++;
		d->fragments += count;
		d->bytes += len;
		d->gsos += !!gso_size;
		budget--;
		/* The operating system's turn: it takes the pages, and here it is done with them at once. */
		sum += len + gso_size + !(first.flags & NETRXF_csum_blank);
		for (unsigned int i = 0; i < count; i++) {
			struct piece *piece = &d->piece[i];
			struct peer_buffer *buffer = d->slot[piece->slot].buffer;

			d->slot[piece->slot].buffer = NULL;
			sum += buffer->gfn + piece->offset + piece->len;
			d->pool[d->pages++] = buffer;
		}
		for (unsigned int i = 0; i < extras; i++)
			repost(d, cons + 1 + i);
	}
	return sum;
broken:
	d->broken = d->closed = 1;
	return 0;
}

/* Asks for a notification. Whether there is something already. */
int peer_rx_arm(struct peer_rx *d)
{
	int work;

	RING_FINAL_CHECK_FOR_RESPONSES(&d->ring, work);
	return !!work;
}
