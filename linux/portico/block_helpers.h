/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions around what the block layer has only as static inlines, for
 * `portico::block`.
 */
#ifndef PORTICO_BLOCK_HELPERS_H
#define PORTICO_BLOCK_HELPERS_H

struct queue_limits;
struct request_queue;

void portico_limits_start_update(struct request_queue *q,
				 struct queue_limits *lim);

#endif
