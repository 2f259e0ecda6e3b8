/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C headers that Portico uses and the `kernel` crate does not bind. Only
 * what some of them declare is taken over (see Kbuild); whatever they include
 * comes from `kernel::bindings`.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/cdrom.h>
#include <linux/etherdevice.h>
#include <linux/hdreg.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/platform_pci.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#include "helpers.h"
#include "block_helpers.h"
#include "net_helpers.h"
