// SPDX-License-Identifier: GPL-2.0-only

//! What a disk offers beside requests.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::{marker::PhantomData, mem::offset_of, ptr};
use kernel::{
    error::from_result, module::this_module, prelude::*, types::ForeignOwnable, ModuleMetadata,
};
use portico_bindings as bindings;

pub use crate::text::AttributeText;

/// A geometry for partition tables that still want one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Heads, that is tracks in a cylinder.
    pub heads: u8,
    /// Sectors in a track.
    pub sectors: u8,
    /// Cylinders.
    pub cylinders: u16,
}

/// The operations of a disk (`struct block_device_operations`) and its attributes in sysfs.
///
/// They may be called until the last opener closes the disk, even after it was removed: `Data` lives
/// as long.
#[vtable]
pub trait DiskOperations: Sized + 'static {
    /// The module of the driver, which stays loaded while a disk is open.
    type OwnerModule: ModuleMetadata;
    /// Data of the disk. It is dropped in process context.
    type Data: ForeignOwnable + Send + Sync;

    /// The geometry (`HDIO_GETGEO`) of a disk of `capacity` sectors of 512 bytes.
    fn getgeo(data: <Self::Data as ForeignOwnable>::Borrowed<'_>, capacity: u64) -> Geometry {
        let _ = (data, capacity);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl that the block layer does not know; `arg` is what user space passed. Process context.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for one that the driver does not know either.
    fn ioctl(
        data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        cmd: u32,
        arg: usize,
    ) -> Result<c_int> {
        let _ = (data, cmd, arg);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Writes what is read from the attribute `serial` of the disk. Without this there is no such
    /// attribute.
    fn serial(
        data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        out: &mut AttributeText,
    ) -> Result {
        let _ = (data, out);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The C tables of a disk's operations, and the functions in them.
///
/// All functions are called by the block layer or sysfs, for disks made by
/// [`NewDisk`](super::NewDisk) with these operations, whose `private_data` comes from
/// `D::Data::into_foreign` and is taken back by [`free_disk`](Self::free_disk) at the earliest.
pub(super) struct Tables<D>(PhantomData<D>);

impl<D: DiskOperations> Tables<D> {
    /// # Safety
    ///
    /// See the type. `geo` is valid.
    unsafe extern "C" fn getgeo(
        disk: *mut bindings::gendisk,
        geo: *mut kernel::bindings::hd_geometry,
    ) -> c_int {
        // `kernel::bindings` knows the structure by name only.
        let geo = geo.cast::<bindings::hd_geometry>();
        // SAFETY: by the type's promises.
        let (data, capacity) = unsafe {
            (
                D::Data::borrow((*disk).private_data),
                (*(*disk).part0).bd_nr_sectors,
            )
        };
        let geometry = D::getgeo(data, capacity);
        // SAFETY: `geo` is valid.
        unsafe {
            (*geo).heads = geometry.heads;
            (*geo).sectors = geometry.sectors;
            (*geo).cylinders = geometry.cylinders;
        }
        0
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn ioctl(
        bdev: *mut bindings::block_device,
        _mode: bindings::blk_mode_t,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        // SAFETY: by the type's promises.
        let data = unsafe { D::Data::borrow((*(*bdev).bd_disk).private_data) };
        from_result(|| D::ioctl(data, cmd, arg))
    }

    /// Called at the last reference to a disk that was added.
    ///
    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn free_disk(disk: *mut bindings::gendisk) {
        // SAFETY: by the type's promises; nobody uses the disk any more.
        drop(unsafe { D::Data::from_foreign((*disk).private_data) });
    }

    /// # Safety
    ///
    /// See the type. `dev` is a disk's device, and `buf` a page.
    unsafe extern "C" fn serial(
        dev: *mut bindings::device,
        _attr: *mut bindings::device_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: the device is part of the block device of the whole disk.
        let data = unsafe {
            let bdev = dev.byte_sub(offset_of!(bindings::block_device, bd_device));
            let disk = (*bdev.cast::<bindings::block_device>()).bd_disk;
            D::Data::borrow((*disk).private_data)
        };
        // SAFETY: sysfs passes a page.
        let mut out = unsafe { AttributeText::new(buf) };
        match D::serial(data, &mut out) {
            Ok(()) => out.len() as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    const OPERATIONS: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<D::OwnerModule>().as_ptr(),
        getgeo: if D::HAS_GETGEO {
            Some(Self::getgeo)
        } else {
            None
        },
        ioctl: if D::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        compat_ioctl: if D::HAS_IOCTL {
            Some(bindings::blkdev_compat_ptr_ioctl)
        } else {
            None
        },
        free_disk: Some(Self::free_disk),
        ..pin_init::zeroed()
    };

    const SERIAL: bindings::device_attribute = bindings::device_attribute {
        attr: bindings::attribute {
            name: c"serial".as_ptr().cast(),
            mode: 0o444,
        },
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
            show: Some(Self::serial),
        },
        ..pin_init::zeroed()
    };

    // sysfs takes pointers to what could be changed, and changes nothing.
    const ATTRIBUTES: [*mut bindings::attribute; 2] = [
        ptr::from_ref(&Self::SERIAL).cast_mut().cast(),
        ptr::null_mut(),
    ];

    const GROUP: bindings::attribute_group = bindings::attribute_group {
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs: ptr::from_ref(&Self::ATTRIBUTES).cast_mut().cast(),
        },
        ..pin_init::zeroed()
    };

    const GROUPS: [*const bindings::attribute_group; 2] = [&Self::GROUP, ptr::null()];

    pub(super) const fn operations() -> &'static bindings::block_device_operations {
        &Self::OPERATIONS
    }

    /// The attribute groups for `device_add_disk`, or null.
    pub(super) const fn groups() -> *mut *const bindings::attribute_group {
        if D::HAS_SERIAL {
            ptr::from_ref(&Self::GROUPS).cast_mut().cast()
        } else {
            ptr::null_mut()
        }
    }
}
