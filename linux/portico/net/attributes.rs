// SPDX-License-Identifier: GPL-2.0-only

//! Files of a device under `/sys/class/net`.
//!
//! C headers: [`include/linux/device.h`](srctree/include/linux/device.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::{marker::PhantomData, ptr, slice};
use kernel::{error::from_result, prelude::*};
use portico_bindings as bindings;

use super::{device::NetDevice, operations::Operations};
use crate::text::AttributeText;

/// A file.
pub trait Attribute<T: Operations>: 'static {
    /// Its name.
    const NAME: &'static CStr;
    /// Its permissions, such as `0o444`.
    const MODE: u16;

    /// Writes what is read from it.
    fn show(dev: &NetDevice<T>, out: &mut AttributeText) -> Result;

    /// Takes what is written to it.
    fn store(dev: &NetDevice<T>, text: &[u8]) -> Result {
        let _ = (dev, text);
        Err(EPERM)
    }
}

/// The files of a device: none, or a tuple of three.
pub trait Attributes<T: Operations>: 'static {
    #[doc(hidden)]
    fn group() -> *const RawGroup;
}

/// What C knows of the files.
#[doc(hidden)]
#[repr(transparent)]
pub struct RawGroup(pub(super) bindings::attribute_group);

impl<T: Operations> Attributes<T> for () {
    fn group() -> *const RawGroup {
        ptr::null()
    }
}

impl<T, A, B, C> Attributes<T> for (A, B, C)
where
    T: Operations,
    A: Attribute<T>,
    B: Attribute<T>,
    C: Attribute<T>,
{
    fn group() -> *const RawGroup {
        &Table::<T, A, B, C>::GROUP
    }
}

struct Table<T, A, B, C>(PhantomData<(T, A, B, C)>);

impl<T, A, B, C> Table<T, A, B, C>
where
    T: Operations,
    A: Attribute<T>,
    B: Attribute<T>,
    C: Attribute<T>,
{
    // sysfs takes pointers to what could be changed, and changes nothing.
    const LIST: [*mut bindings::attribute; 4] = [
        ptr::from_ref(&One::<T, A>::RAW).cast_mut().cast(),
        ptr::from_ref(&One::<T, B>::RAW).cast_mut().cast(),
        ptr::from_ref(&One::<T, C>::RAW).cast_mut().cast(),
        ptr::null_mut(),
    ];

    const GROUP: RawGroup = RawGroup(bindings::attribute_group {
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs: ptr::from_ref(&Self::LIST).cast_mut().cast(),
        },
        ..pin_init::zeroed()
    });
}

/// A file for C. sysfs calls its functions while the device is registered, with a page to write to.
struct One<T, A>(PhantomData<(T, A)>);

impl<T: Operations, A: Attribute<T>> One<T, A> {
    /// # Safety
    ///
    /// See the type. `dev` is that of a device made for `T`.
    unsafe extern "C" fn show(
        dev: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: by the type's promises.
        let (dev, mut out) = unsafe {
            (
                NetDevice::<T>::from_raw(bindings::portico_to_netdev(dev)),
                AttributeText::new(buf),
            )
        };
        match A::show(dev, &mut out) {
            Ok(()) => out.len() as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// See the type. `dev` is that of a device made for `T`, `buf` leads to `len` bytes.
    unsafe extern "C" fn store(
        dev: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        buf: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: by the type's promises.
        let (dev, text) = unsafe {
            (
                NetDevice::<T>::from_raw(bindings::portico_to_netdev(dev)),
                slice::from_raw_parts(buf, len),
            )
        };
        from_result(|| A::store(dev, text).map(|()| len as isize))
    }

    const RAW: bindings::device_attribute = bindings::device_attribute {
        attr: bindings::attribute {
            name: A::NAME.as_ptr().cast(),
            mode: A::MODE,
        },
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
            show: Some(Self::show),
        },
        __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
            store: if A::MODE & 0o222 != 0 {
                Some(Self::store)
            } else {
                None
            },
        },
    };
}
