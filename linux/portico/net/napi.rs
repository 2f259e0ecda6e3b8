// SPDX-License-Identifier: GPL-2.0-only

//! Polling: what a queue does in softirq context.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/etherdevice.h`](srctree/include/linux/etherdevice.h)

use core::ptr::NonNull;
use kernel::prelude::*;
use portico_bindings as bindings;

use super::{
    device::NetDevice,
    new_skb::NewSkb,
    operations::{Operations, Polled},
    page_pool::PoolPage,
    queue::{BhOff, Queue},
    skb::Raw,
    xdp::Program,
};

/// One poll of a queue.
///
/// # Invariants
///
/// The poll function of `queue` runs in this thread during `'a`; softirqs are off.
pub struct Poll<'a, T: Operations> {
    queue: &'a Queue<T>,
    _bh: BhOff<'a>,
}

impl<'a, T: Operations> Poll<'a, T> {
    /// That softirqs are off.
    #[inline]
    pub fn bh_off(&self) -> BhOff<'a> {
        self._bh
    }

    #[inline]
    pub(super) fn queue(&self) -> &'a Queue<T> {
        self.queue
    }

    /// The device's XDP program, if it has one.
    #[inline]
    pub fn xdp_program(&self, dev: &NetDevice<T>) -> Option<Program<'a>> {
        // SAFETY: it is not freed before softirqs were on here.
        NonNull::new(dev.xdp.get()).map(|program| unsafe { Program::new(program, self._bh) })
    }

    /// Sends what programs have redirected.
    #[inline]
    pub fn flush_xdp(&self) {
        // SAFETY: softirqs are off.
        unsafe { bindings::xdp_do_flush() };
    }

    /// Takes an empty packet whose linear part has room for `len` bytes.
    #[inline]
    pub fn alloc_skb(&self, len: u32) -> Option<NewSkb> {
        // SAFETY: this is the poll function of the context.
        let skb = unsafe { bindings::napi_alloc_skb(self.queue.napi(), len) };
        // SAFETY: just allocated, so nobody else has it.
        NonNull::new(skb).map(|skb| unsafe { NewSkb::from_raw(skb) })
    }

    /// Takes a page to receive into.
    #[inline]
    pub fn alloc_page(&self) -> Option<PoolPage> {
        // SAFETY: this is the poll function of the pool's consumer.
        unsafe { self.queue.pool.alloc() }
    }

    /// Passes a packet up, through GRO. `Ok(true)`: it is of many segments and its sender did not leave
    /// the checksum to the device, which was made up for (`rx_gso_checksum_fixup`). `Err`: it is
    /// malformed, and gone.
    #[inline]
    pub fn receive(&self, skb: NewSkb) -> Result<bool> {
        let dev = self.queue.raw_dev();
        let skb = skb.finish(dev)?;
        let raw = Raw(skb.as_ptr());
        // SAFETY: nobody else has the packet.
        let fixed = unsafe {
            let partial = u32::from(raw.headers().ip_summed()) == bindings::CHECKSUM_PARTIAL;
            let fix = !partial && (*raw.shared_info()).gso_size != 0;
            if fix {
                raw.headers()
                    .set_ip_summed(bindings::CHECKSUM_PARTIAL as u8);
            }
            if (partial || fix) && bindings::skb_checksum_setup(skb.as_ptr(), fix) != 0 {
                NewSkb::from_raw(skb).discard();
                return Err(EINVAL);
            }
            // As `skb_record_rx_queue`: 0 stands for none.
            (*skb.as_ptr()).queue_mapping = self.queue.index().wrapping_add(1);
            fix
        };
        const GRO: usize = bindings::portico_net_offsets_PORTICO_NAPI_GRO as usize;
        // SAFETY: this is the poll function of the context, whose field `gro` is there; ownership of the
        // packet goes to the stack.
        unsafe {
            let gro = self.queue.napi().byte_add(GRO).cast::<bindings::gro_node>();
            bindings::gro_receive_skb(gro, skb.as_ptr());
        }
        Ok(fixed)
    }
}

/// # Safety
///
/// The stack calls this for a NAPI context of a `Queue<T>`, of a device made for `T`.
pub(super) unsafe extern "C" fn poll<T: Operations>(
    napi: *mut bindings::napi_struct,
    budget: c_int,
) -> c_int {
    // SAFETY: by the caller's promise; queue and device live while the context is enabled.
    let (queue, dev) = unsafe {
        let queue = Queue::<T>::from_napi(napi);
        (queue, NetDevice::<T>::from_raw(queue.raw_dev()))
    };
    let budget = u32::try_from(budget).unwrap_or(0);
    if budget == 0 {
        // That is netpoll: interrupts are disabled, maybe in the middle of a softirq, and the context stays
        // as it is for the next one.
        queue.try_locked_tx(T::poll_tx);
        return 0;
    }
    // INVARIANT: called by the stack, in a softirq, or with softirqs off.
    let poll = Poll {
        queue,
        // SAFETY: as above.
        _bh: unsafe { BhOff::new() },
    };
    match T::poll(dev, queue, &poll, budget) {
        Polled::More => budget as c_int,
        Polled::Done(work) => {
            // A whole budget means more work to the stack.
            let work = work.min(budget - 1) as c_int;
            // SAFETY: this is the poll function of the context.
            unsafe { bindings::napi_complete_done(napi, work) };
            work
        }
    }
}
