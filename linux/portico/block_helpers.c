// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions around what the block layer has only as static inlines, for
 * `portico::block`. The assertions at the end hold the constants that bindgen
 * cannot read (they are casts) to what the Rust side spells out.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/build_bug.h>
#include <linux/export.h>

#include "block_helpers.h"

void portico_limits_start_update(struct request_queue *q,
				 struct queue_limits *lim)
{
	*lim = queue_limits_start_update(q);
}
EXPORT_SYMBOL_GPL(portico_limits_start_update);

#define SAME(c, value) static_assert((__force unsigned int)(c) == (value))

/* block/status.rs */
SAME(BLK_STS_OK, 0);
SAME(BLK_STS_NOTSUPP, 1);
SAME(BLK_STS_RESOURCE, 9);
SAME(BLK_STS_IOERR, 10);

/* block/limits.rs */
SAME(BLK_FEAT_WRITE_CACHE, 1u << 0);
SAME(BLK_FEAT_FUA, 1u << 1);

/* block/request.rs: the operation is in the low bits of the flags */
SAME(REQ_OP_MASK, (1u << REQ_OP_BITS) - 1);
