/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions around what the network stack has only as static inlines, for
 * `portico::net`, and where in its structures that module looks itself.
 */
#ifndef PORTICO_NET_HELPERS_H
#define PORTICO_NET_HELPERS_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>

/* Offsets in bytes; `struct net_device` itself is not bound. */
enum portico_net_offsets {
	PORTICO_NETDEV_PRIV = offsetof(struct net_device, priv),
	PORTICO_NETDEV_FEATURES = offsetof(struct net_device, features),
	PORTICO_NETDEV_STATE = offsetof(struct net_device, state),
	PORTICO_NETDEV_MTU = offsetof(struct net_device, mtu),
	PORTICO_NETDEV_REAL_NUM_TX_QUEUES =
		offsetof(struct net_device, real_num_tx_queues),
	PORTICO_NETDEV_REAL_NUM_RX_QUEUES =
		offsetof(struct net_device, real_num_rx_queues),
	PORTICO_NETDEV_NAME = offsetof(struct net_device, name),
	PORTICO_NAPI_GRO = offsetof(struct napi_struct, gro),
	PORTICO_TXQ_STATE = offsetof(struct netdev_queue, state),
};

enum portico_net_bits {
	PORTICO_LINK_STATE_NOCARRIER = __LINK_STATE_NOCARRIER,
	PORTICO_TXQ_DRV_XOFF = QUEUE_STATE_DRV_XOFF,
};

struct portico_netdev_setup {
	const struct net_device_ops *ops;
	const struct ethtool_ops *ethtool;
	const struct netdev_stat_ops *stat_ops;
	const struct attribute_group *group;
	struct device *parent;
	u64 features;
	u64 hw_features;
	u32 xdp_features;
	unsigned int min_mtu;
	unsigned int max_mtu;
	unsigned int gso_max;
	unsigned int watchdog_ms;
};

void portico_netdev_setup(struct net_device *dev,
			  const struct portico_netdev_setup *setup);
void portico_netdev_set_mac(struct net_device *dev, const u8 *mac);
void portico_netdev_set_mtu(struct net_device *dev, unsigned int mtu);
int portico_netdev_multicast(struct net_device *dev, u8 (*to)[ETH_ALEN],
			     unsigned int max);
struct netdev_queue *portico_netdev_tx_queue(struct net_device *dev,
					     unsigned int index);
void portico_netdev_set_napi(struct net_device *dev, unsigned int index,
			     struct napi_struct *napi);
void portico_netdev_add_unused_stats(struct net_device *dev,
				     struct netdev_queue_stats_rx *rx,
				     struct netdev_queue_stats_tx *tx);
void portico_netdev_start_all(struct net_device *dev);
void portico_netdev_disable_all(struct net_device *dev);
struct net_device *portico_to_netdev(struct device *dev);

void portico_txq_lock(struct netdev_queue *txq);
void portico_txq_unlock(struct netdev_queue *txq);
bool portico_txq_trylock(struct netdev_queue *txq);
void portico_txq_unlock_irqs_off(struct netdev_queue *txq);
void portico_txq_stop(struct netdev_queue *txq);
void portico_txq_touch(struct netdev_queue *txq);
bool portico_txq_sent(struct netdev_queue *txq, unsigned int bytes);
void portico_txq_completed(struct netdev_queue *txq, unsigned int packets,
			   unsigned int bytes);
void portico_txq_reset(struct netdev_queue *txq, unsigned int least);
bool portico_xmit_more(void);

void portico_napi_add(struct net_device *dev, struct napi_struct *napi,
		      int (*poll)(struct napi_struct *, int),
		      unsigned int index);
void portico_napi_del(struct napi_struct *napi);
void portico_napi_set_irq(struct napi_struct *napi, int irq);

void portico_skb_tx_timestamp(struct sk_buff *skb);
void portico_skb_share(struct sk_buff *skb);
void portico_skb_add_frag(struct sk_buff *skb, struct page *page,
			  unsigned int offset, unsigned int len,
			  unsigned int truesize);
bool portico_skb_may_pull(struct sk_buff *skb, unsigned int len);

struct page_pool *portico_page_pool_create(struct net_device *dev,
					   unsigned int queue,
					   unsigned int size);
int portico_xdp_rxq_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
			unsigned int queue, struct page_pool *pool);
/* What a frame has behind its first page. */
struct portico_xdp_more {
	u32 pages;
	u32 bytes;
	u32 flags;
};

bool portico_xdp_takes_pages(const struct bpf_prog *prog);
bool portico_xdp_add_page(struct xdp_buff *xdp, struct page *page, u32 offset,
			  u32 len);
struct portico_xdp_more portico_xdp_more(const struct xdp_buff *xdp);
void portico_skb_adopt(struct sk_buff *skb, struct portico_xdp_more more);
const struct skb_shared_info *
portico_xdp_frame_shared(const struct xdp_frame *frame);
u32 portico_xdp_run(struct bpf_prog *prog, struct xdp_buff *xdp);
struct xdp_frame *portico_xdp_to_frame(struct xdp_buff *xdp);
void portico_xdp_exception(struct net_device *dev, struct bpf_prog *prog,
			   u32 act);
void portico_store_release(void **to, void *value);

void portico_page_pool_put(struct page *page);

#endif
