// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions around what the network stack has only as static inlines, for
 * `portico::net`.
 */
#include <linux/bpf.h>
#include <linux/bpf_trace.h>
#include <linux/build_bug.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/export.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>

#include "net_helpers.h"

void portico_netdev_setup(struct net_device *dev,
			  const struct portico_netdev_setup *setup)
{
	dev->netdev_ops = setup->ops;
	dev->ethtool_ops = setup->ethtool;
	dev->stat_ops = setup->stat_ops;
	dev->sysfs_groups[0] = setup->group;
	SET_NETDEV_DEV(dev, setup->parent);
	dev->features = setup->features;
	dev->hw_features = setup->hw_features;
	dev->xdp_features = setup->xdp_features;
	dev->min_mtu = setup->min_mtu;
	dev->max_mtu = setup->max_mtu;
	netif_set_tso_max_size(dev, setup->gso_max);
	dev->watchdog_timeo = msecs_to_jiffies(setup->watchdog_ms);
}
EXPORT_SYMBOL_GPL(portico_netdev_setup);

void portico_netdev_set_mac(struct net_device *dev, const u8 *mac)
{
	eth_hw_addr_set(dev, mac);
}
EXPORT_SYMBOL_GPL(portico_netdev_set_mac);

void portico_netdev_set_mtu(struct net_device *dev, unsigned int mtu)
{
	WRITE_ONCE(dev->mtu, mtu);
}
EXPORT_SYMBOL_GPL(portico_netdev_set_mtu);

/*
 * Copies the multicast addresses that somebody listens to, up to `max`, and
 * returns how many there are; negative: somebody listens to all.
 */
int portico_netdev_multicast(struct net_device *dev, u8 (*to)[ETH_ALEN],
			     unsigned int max)
{
	struct netdev_hw_addr *ha;
	unsigned int n = 0;

	if (READ_ONCE(dev->flags) & (IFF_PROMISC | IFF_ALLMULTI))
		return -1;
	netif_addr_lock_bh(dev);
	netdev_for_each_mc_addr(ha, dev) {
		if (n < max)
			ether_addr_copy(to[n], ha->addr);
		n++;
	}
	netif_addr_unlock_bh(dev);
	return n;
}
EXPORT_SYMBOL_GPL(portico_netdev_multicast);

struct netdev_queue *portico_netdev_tx_queue(struct net_device *dev,
					     unsigned int index)
{
	return index < dev->num_tx_queues ? netdev_get_tx_queue(dev, index) : NULL;
}
EXPORT_SYMBOL_GPL(portico_netdev_tx_queue);

/* Tells which context serves a queue in both directions; NULL: none. RTNL. */
void portico_netdev_set_napi(struct net_device *dev, unsigned int index,
			     struct napi_struct *napi)
{
	netif_queue_set_napi(dev, index, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(dev, index, NETDEV_QUEUE_TYPE_TX, napi);
}
EXPORT_SYMBOL_GPL(portico_netdev_set_napi);

/* Adds what the queues that are not in use have counted. RTNL. */
void portico_netdev_add_unused_stats(struct net_device *dev,
				     struct netdev_queue_stats_rx *rx,
				     struct netdev_queue_stats_tx *tx)
{
	netdev_stat_queue_sum(dev, dev->real_num_rx_queues, dev->num_rx_queues,
			      rx, dev->real_num_tx_queues, dev->num_tx_queues,
			      tx);
}
EXPORT_SYMBOL_GPL(portico_netdev_add_unused_stats);

void portico_netdev_start_all(struct net_device *dev)
{
	netif_tx_start_all_queues(dev);
}
EXPORT_SYMBOL_GPL(portico_netdev_start_all);

/* Stops the queues and waits until nobody is in ndo_start_xmit. */
void portico_netdev_disable_all(struct net_device *dev)
{
	netif_tx_disable(dev);
}
EXPORT_SYMBOL_GPL(portico_netdev_disable_all);

struct net_device *portico_to_netdev(struct device *dev)
{
	return to_net_dev(dev);
}
EXPORT_SYMBOL_GPL(portico_to_netdev);

void portico_txq_lock(struct netdev_queue *txq)
{
	__netif_tx_lock_bh(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_lock);

void portico_txq_unlock(struct netdev_queue *txq)
{
	__netif_tx_unlock_bh(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_unlock);

/* For netpoll, which has interrupts disabled: no softirq may run when the lock is dropped. */
bool portico_txq_trylock(struct netdev_queue *txq)
{
	return __netif_tx_trylock(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_trylock);

void portico_txq_unlock_irqs_off(struct netdev_queue *txq)
{
	__netif_tx_unlock(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_unlock_irqs_off);

void portico_txq_stop(struct netdev_queue *txq)
{
	netif_tx_stop_queue(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_stop);

/* What is sent beside ndo_start_xmit keeps the watchdog quiet, too. */
void portico_txq_touch(struct netdev_queue *txq)
{
	txq_trans_cond_update(txq);
}
EXPORT_SYMBOL_GPL(portico_txq_touch);

/* Whether the device is to be told now. Only from ndo_start_xmit. */
bool portico_txq_sent(struct netdev_queue *txq, unsigned int bytes)
{
	return __netdev_tx_sent_queue(txq, bytes, netdev_xmit_more());
}
EXPORT_SYMBOL_GPL(portico_txq_sent);

void portico_txq_completed(struct netdev_queue *txq, unsigned int packets,
			   unsigned int bytes)
{
	netdev_tx_completed_queue(txq, packets, bytes);
}
EXPORT_SYMBOL_GPL(portico_txq_completed);

/* Nothing is under way, and BQL lets at least `least` bytes be from now on. */
void portico_txq_reset(struct netdev_queue *txq, unsigned int least)
{
	netdev_queue_set_dql_min_limit(txq, least);
	netdev_tx_reset_queue(txq);
#ifdef CONFIG_BQL
	/* Also before the first packet comes back. */
	txq->dql.adj_limit = least;
#endif
}
EXPORT_SYMBOL_GPL(portico_txq_reset);

bool portico_xmit_more(void)
{
	return netdev_xmit_more();
}
EXPORT_SYMBOL_GPL(portico_xmit_more);

void portico_napi_add(struct net_device *dev, struct napi_struct *napi,
		      int (*poll)(struct napi_struct *, int),
		      unsigned int index)
{
	netif_napi_add_config(dev, napi, poll, index);
}
EXPORT_SYMBOL_GPL(portico_napi_add);

void portico_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}
EXPORT_SYMBOL_GPL(portico_napi_del);

/* Tells which interrupt makes a context run; -1: none. Sleeps. */
void portico_napi_set_irq(struct napi_struct *napi, int irq)
{
	netif_napi_set_irq(napi, irq);
}
EXPORT_SYMBOL_GPL(portico_napi_set_irq);

void portico_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}
EXPORT_SYMBOL_GPL(portico_skb_tx_timestamp);

void portico_skb_share(struct sk_buff *skb)
{
	skb_orphan(skb);
	skb_get(skb);
}
EXPORT_SYMBOL_GPL(portico_skb_share);

void portico_skb_add_frag(struct sk_buff *skb, struct page *page,
			  unsigned int offset, unsigned int len,
			  unsigned int truesize)
{
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, offset, len,
			truesize);
}
EXPORT_SYMBOL_GPL(portico_skb_add_frag);

bool portico_skb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}
EXPORT_SYMBOL_GPL(portico_skb_may_pull);

struct page_pool *portico_page_pool_create(struct net_device *dev,
					   unsigned int queue,
					   unsigned int size)
{
	struct page_pool_params params = {
		.order = 0,
		.pool_size = size,
		.nid = NUMA_NO_NODE,
		.dev = &dev->dev,
		.netdev = dev,
		.queue_idx = queue,
	};

	return page_pool_create(&params);
}
EXPORT_SYMBOL_GPL(portico_page_pool_create);

int portico_xdp_rxq_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
			unsigned int queue, struct page_pool *pool)
{
	int err = __xdp_rxq_info_reg(rxq, dev, queue, 0, PAGE_SIZE);

	if (err)
		return err;
	err = xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_PAGE_POOL, pool);
	if (err)
		xdp_rxq_info_unreg(rxq);
	return err;
}
EXPORT_SYMBOL_GPL(portico_xdp_rxq_reg);

bool portico_xdp_takes_pages(const struct bpf_prog *prog)
{
	return prog->aux->xdp_has_frags;
}
EXPORT_SYMBOL_GPL(portico_xdp_takes_pages);

bool portico_xdp_add_page(struct xdp_buff *xdp, struct page *page, u32 offset,
			  u32 len)
{
	return xdp_buff_add_frag(xdp, page_to_netmem(page), offset, len,
				 PAGE_SIZE);
}
EXPORT_SYMBOL_GPL(portico_xdp_add_page);

struct portico_xdp_more portico_xdp_more(const struct xdp_buff *xdp)
{
	struct portico_xdp_more more = { .flags = xdp->flags };

	if (xdp_buff_has_frags(xdp)) {
		const struct skb_shared_info *info =
			xdp_get_shared_info_from_buff(xdp);

		more.pages = info->nr_frags;
		more.bytes = info->xdp_frags_size;
	}
	return more;
}
EXPORT_SYMBOL_GPL(portico_xdp_more);

void portico_skb_adopt(struct sk_buff *skb, struct portico_xdp_more more)
{
	xdp_update_skb_frags_info(skb, more.pages, more.bytes,
				  more.pages * PAGE_SIZE, more.flags);
}
EXPORT_SYMBOL_GPL(portico_skb_adopt);

const struct skb_shared_info *
portico_xdp_frame_shared(const struct xdp_frame *frame)
{
	return xdp_frame_has_frags(frame) ?
		xdp_get_shared_info_from_frame(frame) : NULL;
}
EXPORT_SYMBOL_GPL(portico_xdp_frame_shared);

u32 portico_xdp_run(struct bpf_prog *prog, struct xdp_buff *xdp)
{
	return bpf_prog_run_xdp(prog, xdp);
}
EXPORT_SYMBOL_GPL(portico_xdp_run);

struct xdp_frame *portico_xdp_to_frame(struct xdp_buff *xdp)
{
	return xdp_convert_buff_to_frame(xdp);
}
EXPORT_SYMBOL_GPL(portico_xdp_to_frame);

void portico_xdp_exception(struct net_device *dev, struct bpf_prog *prog,
			   u32 act)
{
	trace_xdp_exception(dev, prog, act);
}
EXPORT_SYMBOL_GPL(portico_xdp_exception);

void portico_store_release(void **to, void *value)
{
	smp_store_release(to, value);
}
EXPORT_SYMBOL_GPL(portico_store_release);

void portico_page_pool_put(struct page *page)
{
	page_pool_put_full_page(pp_page_to_nmdesc(page)->pp, page, false);
}
EXPORT_SYMBOL_GPL(portico_page_pool_put);

#define SAME(c, value) static_assert((c) == (value))

/* net/ethtool.rs */
SAME(ETHTOOL_COALESCE_TX_MAX_FRAMES, 1u << 5);
