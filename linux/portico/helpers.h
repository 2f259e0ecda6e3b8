/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions around what C has only as macros and static inlines, for the Rust
 * code of portico.ko and, by way of its generic code, of the drivers.
 */
#ifndef PORTICO_HELPERS_H
#define PORTICO_HELPERS_H

#include <linux/types.h>
#include <linux/workqueue.h>

struct device;
struct page;

bool portico_xen_domain(void);
bool portico_xen_pv_domain(void);
bool portico_xen_hvm_domain(void);
bool portico_xen_pvh_domain(void);

unsigned long portico_virt_to_gfn(void *addr);
unsigned long portico_page_to_gfn(struct page *page);

void portico_copy_shared(void *to, const void *from, size_t len);

unsigned int portico_memalloc_noio_save(void);
void portico_memalloc_noio_restore(unsigned int flags);

void portico_init_delayed_work(struct delayed_work *work, work_func_t func);
void portico_schedule_delayed_work(struct delayed_work *work, unsigned int msecs);
void portico_queue_delayed_work(struct delayed_work *work, unsigned int msecs);
bool portico_irqs_disabled(void);

bool portico_device_trylock(struct device *dev);
void portico_device_unlock(struct device *dev);

#endif
