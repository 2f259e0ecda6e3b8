// SPDX-License-Identifier: GPL-2.0-only

//! Tag sets: the requests and hardware queues of a device.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{operations::Operations, request::Pdu, vtable::Vtable};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    time::Jiffies,
    types::{ForeignOwnable, Opaque},
};
use portico_bindings as bindings;

/// How a [`TagSet`] is made.
#[derive(Clone, Copy, Debug)]
pub struct TagSetSetup {
    /// Hardware queues, those that are polled included. At least 1. Without polled queues there are
    /// never more than CPUs.
    pub hw_queues: u32,
    /// How many of them, the last ones, are polled: less than `hw_queues`. 0 if
    /// [`Operations::poll`] is not there.
    pub poll_queues: u32,
    /// Requests of each hardware queue, 1 to 10240.
    pub depth: u32,
    /// NUMA node of the memory, or [`NO_NODE`](Self::NO_NODE).
    pub node: i32,
    /// Time that a request may take before [`Operations::timeout`] is called; 0 for 30 s.
    pub timeout: Jiffies,
    /// Take no I/O scheduler by default. Otherwise a disk with one hardware queue starts with
    /// `mq-deadline`, which also keeps [`Batch`](super::Batch) from completing its requests together.
    pub no_scheduler: bool,
}

impl TagSetSetup {
    /// Memory of any node.
    pub const NO_NODE: i32 = bindings::NUMA_NO_NODE;
}

impl Default for TagSetSetup {
    fn default() -> Self {
        Self {
            hw_queues: 1,
            poll_queues: 0,
            depth: 128,
            node: Self::NO_NODE,
            timeout: 0,
            no_scheduler: false,
        }
    }
}

/// The requests and hardware queues of a device (`struct blk_mq_tag_set`).
///
/// The last reference must be dropped where one may sleep.
///
/// # Invariants
///
/// `set` is allocated, with the table of `T`, and its `driver_data` comes from
/// `T::TagSetData::into_foreign`.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub struct TagSet<T: Operations> {
    #[pin]
    set: Opaque<bindings::blk_mq_tag_set>,
    poll_queues: Atomic<u32>,
    _ops: PhantomData<T>,
}

// SAFETY: the C structure may be used by any thread, and its `driver_data` is `Send` and `Sync`.
unsafe impl<T: Operations> Send for TagSet<T> {}
// SAFETY: what is done through `&TagSet` is synchronised by the block layer.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// Makes a tag set.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `setup` asks for what cannot be, `ENOMEM`, or what [`Operations::init_request`]
    /// says.
    pub fn new(setup: TagSetSetup, data: T::TagSetData) -> impl PinInit<Self, Error> {
        const {
            // Requests of the block layer are aligned to no more.
            assert!(align_of::<Pdu<T::RequestData>>() <= align_of::<bindings::request>());
        }
        try_pin_init!(Self {
            poll_queues: Atomic::new(setup.poll_queues),
            set <- Opaque::try_ffi_init(move |set| Self::alloc(set, setup, data)),
            _ops: PhantomData,
        }? Error)
    }

    /// Fills and allocates the C structure, which is the start of a `TagSet` whose `poll_queues` is
    /// initialised.
    fn alloc(
        set: *mut bindings::blk_mq_tag_set,
        setup: TagSetSetup,
        data: T::TagSetData,
    ) -> Result {
        if setup.hw_queues == 0
            || setup.poll_queues >= setup.hw_queues
            || (setup.poll_queues != 0 && !T::HAS_POLL)
        {
            return Err(EINVAL);
        }
        let cmd_size = u32::try_from(size_of::<Pdu<T::RequestData>>())?;
        let timeout = u32::try_from(setup.timeout)?;
        let driver_data = data.into_foreign();
        let value = bindings::blk_mq_tag_set {
            ops: Vtable::<T>::get(),
            nr_maps: if setup.poll_queues != 0 {
                bindings::hctx_type_HCTX_MAX_TYPES
            } else {
                1
            },
            nr_hw_queues: setup.hw_queues,
            queue_depth: setup.depth,
            cmd_size,
            numa_node: setup.node,
            timeout,
            flags: if setup.no_scheduler {
                bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT
            } else {
                0
            },
            driver_data,
            ..pin_init::zeroed()
        };
        // SAFETY: `set` is valid for writes.
        unsafe { set.write(value) };
        // SAFETY: the set is filled in, and its callbacks find a `TagSet` around it.
        let result = to_result(unsafe { bindings::blk_mq_alloc_tag_set(set) });
        if result.is_err() {
            // SAFETY: from `into_foreign` above; the failed set is used no more.
            drop(unsafe { T::TagSetData::from_foreign(driver_data) });
        }
        result
    }

    pub(super) fn as_raw(&self) -> *mut bindings::blk_mq_tag_set {
        self.set.get()
    }

    /// Says which CPU uses which hardware queue.
    ///
    /// # Safety
    ///
    /// `set` is the start of a `TagSet<T>` whose `poll_queues` is initialised, and nobody else uses
    /// its maps.
    pub(super) unsafe fn map_queues(set: *mut bindings::blk_mq_tag_set) {
        // SAFETY: by the caller's promise; `repr(C)` puts `set` first.
        let poll = unsafe { (*set.cast::<Self>()).poll_queues.load(Relaxed) };
        // SAFETY: as above.
        let (total, maps) = unsafe { ((*set).nr_hw_queues, &mut (*set).map) };
        let poll = poll.min(total.saturating_sub(1));
        let interrupt = total.saturating_sub(poll);
        let [default, read, polled] = maps;
        default.nr_queues = interrupt;
        default.queue_offset = 0;
        // SAFETY: the map has an entry for each CPU.
        unsafe { bindings::blk_mq_map_queues(default) };
        // Reads have no queues of their own: the block layer uses the default ones.
        read.nr_queues = 0;
        polled.nr_queues = poll;
        polled.queue_offset = interrupt;
        if poll != 0 {
            // SAFETY: as above; the map exists if there are polled queues.
            unsafe { bindings::blk_mq_map_queues(polled) };
        }
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        let set = self.as_raw();
        // SAFETY: by the invariants the set is allocated. Disks hold a reference, so none uses it. The
        // data is used by callbacks until the set is freed.
        unsafe {
            let data = (*set).driver_data;
            bindings::blk_mq_free_tag_set(set);
            drop(T::TagSetData::from_foreign(data));
        }
    }
}
