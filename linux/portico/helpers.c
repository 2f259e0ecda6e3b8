// SPDX-License-Identifier: GPL-2.0-only

#include <linux/compiler.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "helpers.h"

bool portico_xen_domain(void)
{
	return xen_domain();
}
EXPORT_SYMBOL_GPL(portico_xen_domain);

bool portico_xen_pv_domain(void)
{
	return xen_pv_domain();
}
EXPORT_SYMBOL_GPL(portico_xen_pv_domain);

bool portico_xen_hvm_domain(void)
{
	return xen_hvm_domain();
}
EXPORT_SYMBOL_GPL(portico_xen_hvm_domain);

bool portico_xen_pvh_domain(void)
{
	return xen_pvh_domain();
}
EXPORT_SYMBOL_GPL(portico_xen_pvh_domain);

/* For addresses of the kernel's direct map. */
unsigned long portico_virt_to_gfn(void *addr)
{
	return virt_to_gfn(addr);
}
EXPORT_SYMBOL_GPL(portico_virt_to_gfn);

unsigned long portico_page_to_gfn(struct page *page)
{
	return xen_page_to_gfn(page);
}
EXPORT_SYMBOL_GPL(portico_page_to_gfn);

/*
 * Copies memory of which one side may be changed by another domain meanwhile.
 * The bytes are read once, in any order; the caller checks what it got.
 */
void portico_copy_shared(void *to, const void *from, size_t len)
{
	barrier();
	memcpy(to, from, len);
	barrier();
}
EXPORT_SYMBOL_GPL(portico_copy_shared);

bool portico_device_trylock(struct device *dev)
{
	return device_trylock(dev);
}
EXPORT_SYMBOL_GPL(portico_device_trylock);

void portico_device_unlock(struct device *dev)
{
	device_unlock(dev);
}
EXPORT_SYMBOL_GPL(portico_device_unlock);

unsigned int portico_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}
EXPORT_SYMBOL_GPL(portico_memalloc_noio_save);

void portico_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
EXPORT_SYMBOL_GPL(portico_memalloc_noio_restore);

void portico_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}
EXPORT_SYMBOL_GPL(portico_init_delayed_work);

void portico_schedule_delayed_work(struct delayed_work *work, unsigned int msecs)
{
	mod_delayed_work(system_percpu_wq, work, msecs_to_jiffies(msecs));
}
EXPORT_SYMBOL_GPL(portico_schedule_delayed_work);

void portico_queue_delayed_work(struct delayed_work *work, unsigned int msecs)
{
	queue_delayed_work(system_percpu_wq, work, msecs_to_jiffies(msecs));
}
EXPORT_SYMBOL_GPL(portico_queue_delayed_work);

bool portico_irqs_disabled(void)
{
	return irqs_disabled();
}
EXPORT_SYMBOL_GPL(portico_irqs_disabled);
