// SPDX-License-Identifier: GPL-2.0-only

//! Disks.
//!
//! C headers: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h),
//! [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    disk_operations::{DiskOperations, Tables},
    limits::Limits,
    operations::Operations,
    tag_set::TagSet,
};
use core::ptr::{self, NonNull};
use kernel::{
    device::Device,
    error::{from_err_ptr, to_result},
    fmt,
    prelude::*,
    static_lock_class,
    str::CString,
    sync::Arc,
    types::ForeignOwnable,
};
use portico_bindings as bindings;

type DiskData<T> = <<T as Operations>::Disk as DiskOperations>::Data;

/// Device numbers for a disk that cannot take those of the block layer.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The major number; see [`Major`](super::Major).
    pub major: u32,
    /// The first minor number, that of the whole disk.
    pub first_minor: u32,
    /// Number of minor numbers, for the disk and its partitions: 1 to 256.
    pub minors: u32,
}

/// The C structure, with all that must go away after it.
///
/// # Invariants
///
/// `disk` is an allocated disk, which was added if `added` says so, on a queue of `tag_set`. Its
/// `private_data` comes from `into_foreign`.
struct Inner<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    /// Outlives the disk.
    _tag_set: Arc<TagSet<T>>,
    added: bool,
}

impl<T: Operations> Inner<T> {
    fn raw(&self) -> *mut bindings::gendisk {
        self.disk.as_ptr()
    }

    fn queue(&self) -> *mut bindings::request_queue {
        // SAFETY: by the invariants; the queue of a disk does not change.
        unsafe { (*self.raw()).queue }
    }
}

impl<T: Operations> Drop for Inner<T> {
    fn drop(&mut self) {
        let disk = self.raw();
        if self.added {
            // SAFETY: the disk was added, and is removed once. After this no callback of the queue runs
            // and no request exists. The last reference, perhaps an opener's, drops the data.
            unsafe {
                bindings::del_gendisk(disk);
                bindings::put_disk(disk);
            }
        } else {
            // SAFETY: the disk was never added, so this is the last reference, and the data is still
            // ours.
            unsafe {
                let data = (*disk).private_data;
                bindings::put_disk(disk);
                drop(DiskData::<T>::from_foreign(data));
            }
        }
    }
}

/// A disk that nobody sees yet. [`add_disk`](Self::add_disk) it when requests can be served.
pub struct NewDisk<T: Operations>(Inner<T>);

// SAFETY: the C structure may be used by any thread, and all data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for NewDisk<T> {}

impl<T: Operations> NewDisk<T> {
    /// Makes a disk with a name of at most 31 bytes and no capacity. The data of its hardware queues
    /// is made here.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the limits contradict each other or the name is too long, `ENOMEM`.
    pub fn new(
        tag_set: Arc<TagSet<T>>,
        name: fmt::Arguments<'_>,
        mut limits: Limits,
        data: DiskData<T>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        let bytes = name.to_bytes_with_nul();
        // SAFETY: the tag set is allocated, and the limits are valid.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tag_set.as_raw(),
                limits.as_raw(),
                ptr::null_mut(),
                static_lock_class!().as_ptr(),
            )
        })?;
        let disk = NonNull::new(disk).ok_or(ENOMEM)?;
        // SAFETY: nobody else uses the disk yet.
        unsafe {
            (*disk.as_ptr()).fops = Tables::<T::Disk>::operations();
            (*disk.as_ptr()).private_data = data.into_foreign();
        }
        // INVARIANT: allocated above, and `private_data` set.
        let inner = Inner {
            disk,
            _tag_set: tag_set,
            added: false,
        };
        // SAFETY: as above.
        let field = unsafe { &mut (*disk.as_ptr()).disk_name };
        field
            .get_mut(..bytes.len())
            .ok_or(EINVAL)?
            .copy_from_slice(bytes);
        Ok(Self(inner))
    }

    /// Sets the capacity, in sectors of 512 bytes.
    pub fn capacity(self, sectors: u64) -> Self {
        // SAFETY: by the invariants.
        unsafe { bindings::set_capacity(self.0.raw(), sectors) };
        self
    }

    /// Refuses writes.
    pub fn read_only(self, on: bool) -> Self {
        // SAFETY: by the invariants.
        unsafe { bindings::set_disk_ro(self.0.raw(), on) };
        self
    }

    /// The medium can be taken out while the disk stays.
    pub fn removable(self) -> Self {
        self.flag(bindings::GENHD_FL_REMOVABLE)
    }

    fn flag(self, flag: u32) -> Self {
        // SAFETY: by the invariants; nobody else uses the disk yet.
        unsafe { (*self.0.raw()).flags |= flag as c_int };
        self
    }

    /// Sets the device numbers. Without this the block layer chooses them.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are out of range.
    pub fn numbers(self, numbers: Numbers) -> Result<Self> {
        let (major, first) = (
            c_int::try_from(numbers.major)?,
            c_int::try_from(numbers.first_minor)?,
        );
        if major == 0 || !(1..=bindings::DISK_MAX_PARTS).contains(&numbers.minors) {
            return Err(EINVAL);
        }
        // SAFETY: by the invariants; nobody else uses the disk yet.
        unsafe {
            let disk = self.0.raw();
            (*disk).major = major;
            (*disk).first_minor = first;
            (*disk).minors = numbers.minors as c_int;
        }
        Ok(self)
    }

    /// Shows the disk to the world, below `parent` if given, and reads its partition table. Requests
    /// come in before this returns.
    ///
    /// # Errors
    ///
    /// `EINVAL` for numbers or a capacity that cannot be, `EBUSY` if the numbers are taken, `EEXIST` if
    /// the name is, `ENOMEM`.
    pub fn add_disk(mut self, parent: Option<&Device>) -> Result<GenDisk<T>> {
        // `Device` is a transparent wrapper.
        let parent = parent.map_or(ptr::null_mut(), |device| {
            ptr::from_ref(device).cast_mut().cast::<bindings::device>()
        });
        // SAFETY: the disk is complete and not yet added, and the device is valid.
        to_result(unsafe {
            bindings::device_add_disk(parent, self.0.raw(), Tables::<T::Disk>::groups())
        })?;
        // INVARIANT: added just now.
        self.0.added = true;
        Ok(GenDisk(self.0))
    }
}

/// A disk.
///
/// Drop removes it, then waits until no request is queued or owned by the driver. For a device that
/// answers no more, the driver ends its requests first, and [`mark_dead`](Self::mark_dead) keeps new
/// ones out. Drop where one may sleep, and hold no lock that a request needs.
pub struct GenDisk<T: Operations>(Inner<T>);

// SAFETY: the C structure may be used by any thread, and all data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for GenDisk<T> {}
// SAFETY: what is done through `&GenDisk` is synchronised by the block layer.
unsafe impl<T: Operations> Sync for GenDisk<T> {}

impl<T: Operations> GenDisk<T> {
    /// The capacity, in sectors of 512 bytes.
    pub fn capacity(&self) -> u64 {
        // SAFETY: by the invariants; read once, as it may change.
        unsafe { (&raw const (*(*self.0.raw()).part0).bd_nr_sectors).read_volatile() }
    }

    /// Changes the capacity, in sectors of 512 bytes, and tells user space if it was another. Returns
    /// whether it told. Sleeps.
    pub fn set_capacity(&self, sectors: u64) -> bool {
        // SAFETY: by the invariants.
        unsafe { bindings::set_capacity_and_notify(self.0.raw(), sectors) }
    }

    /// Refuses writes, or allows them again. Sleeps.
    pub fn set_read_only(&self, on: bool) {
        // SAFETY: by the invariants.
        unsafe { bindings::set_disk_ro(self.0.raw(), on) };
    }

    /// Fails all new requests and tells file systems that the disk is gone. Sleeps.
    ///
    /// What is queued still comes to the driver, and what the driver owns is still the driver's to end.
    pub fn mark_dead(&self) {
        // SAFETY: by the invariants.
        unsafe { bindings::blk_mark_disk_dead(self.0.raw()) };
    }

    /// Changes the limits. Requests in flight and queued are of the old ones, so the driver must
    /// still serve these.
    /// Sleeps, and waits for no request.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the limits contradict each other; then nothing has changed.
    pub fn update_limits(&self, change: impl FnOnce(&mut Limits)) -> Result {
        let mut limits = Limits::new();
        // SAFETY: by the invariants. The lock that this takes is released by the commit.
        unsafe { bindings::portico_limits_start_update(self.0.queue(), limits.as_raw()) };
        change(&mut limits);
        // SAFETY: the update was started above, by this thread.
        to_result(unsafe { bindings::queue_limits_commit_update(self.0.queue(), limits.as_raw()) })
    }

    /// Runs the queues soon. For a driver that refused requests for want of something that another
    /// than a request of the same queue gives back.
    pub fn run_queues(&self) {
        // SAFETY: by the invariants; asynchronous, so any context will do.
        unsafe { bindings::blk_mq_run_hw_queues(self.0.queue(), true) };
    }
}
