// SPDX-License-Identifier: GPL-2.0-only

//! The driver.

use core::{marker::PhantomData, mem::offset_of, ptr::fn_addr_eq};
use kernel::{
    device,
    driver::{DriverLayout, RegistrationOps},
    error::{from_result, to_result},
    ffi::c_int,
    prelude::*,
    types::Opaque,
};
use portico_bindings as bindings;

use super::{state_from_raw, Device, State};

/// How many device types one driver can have.
const MAX_TYPES: usize = 4;

type IdTable = [bindings::xenbus_device_id; MAX_TYPES + 1];

/// A driver of front-end devices.
///
/// # Which callbacks run at the same time
///
/// xenbus calls [`probe`](Self::probe), [`remove`](Self::remove), [`suspend`](Self::suspend) and
/// [`resume`](Self::resume) under the lock of the device, so one at a time.
/// [`otherend_changed`](Self::otherend_changed) runs in xenbus' own thread, one at a time; its watch
/// is set after `probe` and for each end anew after `resume`, and is gone, with its callback returned,
/// before `remove` and `resume` are called. So it can meet only `suspend`, [`is_ready`](Self::is_ready),
/// and what the driver starts itself: interrupts, works, requests. The data is therefore shared, and
/// pinned.
pub trait Driver: Sized + 'static {
    /// The device types (the part of the path after `device/`), one to four.
    const TYPES: &'static [&'static str];

    /// What the driver keeps per device.
    ///
    /// It is dropped after [`remove`](Self::remove), when the other end has been told that this one is
    /// closed already: what the other end could still touch must be given back in `remove`.
    type Data: Send + Sync + 'static;

    /// A device of one of the types has appeared.
    ///
    /// Nothing is known about the other end's state yet. It is told by the first
    /// [`otherend_changed`](Self::otherend_changed), which follows at once.
    fn probe(dev: &Device<device::Core<'_>>) -> impl PinInit<Self::Data, Error>;

    /// The other end may have changed its state. Called at least once after `probe` and after `resume`;
    /// the same state may be told again. The state is what the store held, bounded to the known ones.
    fn otherend_changed(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>, state: State);

    /// The domain is about to be suspended.
    fn suspend(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>) -> Result {
        let _ = (dev, data);
        Ok(())
    }

    /// The domain runs again, perhaps with another back end: grants, event channels and the other end
    /// that the device had are gone. The state of this end is `Initialising`.
    fn resume(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>) -> Result;

    /// The device goes away, or the driver does.
    fn remove(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);

    /// Whether the device, being `Connected`, can be used. xenbus waits for that when a driver is
    /// registered before the root file system is mounted. Must not wait for a lock that any other
    /// callback holds while it sleeps for long.
    fn is_ready(data: Pin<&Self::Data>) -> bool {
        let _ = data;
        true
    }
}

/// Registers a [`Driver`], through [`kernel::driver::Registration`].
pub struct Adapter<T: Driver>(PhantomData<T>);

// SAFETY: `bindings::xenbus_driver` is `repr(C)`, its `struct device_driver` is the field `driver`, and
// `T::Data` is what `probe_callback` stores.
unsafe impl<T: Driver> DriverLayout for Adapter<T> {
    type DriverType = bindings::xenbus_driver;
    type DriverData<'bound> = T::Data;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::xenbus_driver, driver);
}

// SAFETY: `unregister` undoes what `register` did.
unsafe impl<T: Driver> RegistrationOps for Adapter<T> {
    unsafe fn register(
        drv: &Opaque<bindings::xenbus_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let drv = drv.get();
        // SAFETY: nobody else sees the structure before it is registered. It stays pinned until it is
        // unregistered, and the table and the callbacks are of this module, which outlives that.
        unsafe {
            // The name of the driver stays unset: it is then the first type, as for the stock drivers.
            (*drv).ids = Self::IDS.as_ptr();
            (*drv).probe = Some(Self::probe_callback);
            (*drv).otherend_changed = Some(Self::otherend_changed_callback);
            (*drv).remove = Some(Self::remove_callback);
            (*drv).suspend = Some(Self::suspend_callback);
            (*drv).resume = Some(Self::resume_callback);
            (*drv).is_ready = Some(Self::is_ready_callback);
            to_result(bindings::__xenbus_register_frontend(
                drv,
                module.as_ptr(),
                name.as_char_ptr(),
            ))
        }
    }

    unsafe fn unregister(drv: &Opaque<bindings::xenbus_driver>) {
        // SAFETY: the caller has registered it.
        unsafe { bindings::xenbus_unregister_driver(drv.get()) };
    }
}

impl<T: Driver> Adapter<T> {
    /// The types for C; an empty one ends the table.
    const IDS: &'static IdTable = &id_table(T::TYPES);

    /// # Safety
    ///
    /// `dev` is valid for `'a`, and xenbus calls the driver about it.
    unsafe fn device<'a>(
        dev: *mut bindings::xenbus_device,
    ) -> &'a Device<device::CoreInternal<'a>> {
        // SAFETY: `Device` is transparent, and the caller promises the rest.
        unsafe { &*dev.cast::<Device<device::CoreInternal<'a>>>() }
    }

    /// The driver's data, or `None` before `probe` has stored it and after it was dropped.
    ///
    /// # Safety
    ///
    /// The driver of this adapter is bound to `dev`, or about to be, and cannot be unbound for `'a`.
    unsafe fn data<'a>(dev: &'a Device<device::CoreInternal<'a>>) -> Option<Pin<&'a T::Data>> {
        let generic: &device::Device<device::CoreInternal<'_>> = dev.as_ref();
        // SAFETY: the device is valid.
        let stored = unsafe { bindings::dev_get_drvdata(&raw const (*dev.as_raw()).dev) };
        // SAFETY: only `probe_callback` stores data, which is of this type, and by the caller's promise
        // it is not dropped before `'a` ends.
        (!stored.is_null()).then(|| unsafe { generic.drvdata_borrow::<T::Data>() })
    }

    unsafe extern "C" fn probe_callback(
        dev: *mut bindings::xenbus_device,
        _id: *const bindings::xenbus_device_id,
    ) -> c_int {
        from_result(|| {
            // SAFETY: xenbus keeps the device for the time of the call.
            let dev = unsafe { Self::device(dev) };
            let generic: &device::Device<device::CoreInternal<'_>> = dev.as_ref();
            generic.set_drvdata(T::probe(dev))?;
            Ok(0)
        })
    }

    unsafe extern "C" fn otherend_changed_callback(
        dev: *mut bindings::xenbus_device,
        state: bindings::xenbus_state,
    ) {
        // SAFETY: xenbus keeps the device for the time of the call.
        let dev = unsafe { Self::device(dev) };
        // SAFETY: the watch exists only between `probe` and `remove`, and its removal waits for the
        // callback, so the device is not unbound meanwhile.
        if let Some(data) = unsafe { Self::data(dev) } {
            T::otherend_changed(dev, data, state_from_raw(state));
        }
    }

    unsafe extern "C" fn remove_callback(dev: *mut bindings::xenbus_device) {
        // SAFETY: xenbus keeps the device for the time of the call.
        let dev = unsafe { Self::device(dev) };
        // SAFETY: the driver core drops the data after this callback, under the same lock.
        if let Some(data) = unsafe { Self::data(dev) } {
            T::remove(dev, data);
        }
    }

    unsafe extern "C" fn suspend_callback(dev: *mut bindings::xenbus_device) -> c_int {
        // SAFETY: xenbus keeps the device for the time of the call.
        let dev = unsafe { Self::device(dev) };
        // SAFETY: the PM core holds the lock of the device, under which it is unbound.
        match unsafe { Self::data(dev) } {
            Some(data) => from_result(|| T::suspend(dev, data).map(|()| 0)),
            None => 0,
        }
    }

    unsafe extern "C" fn resume_callback(dev: *mut bindings::xenbus_device) -> c_int {
        // SAFETY: xenbus keeps the device for the time of the call.
        let dev = unsafe { Self::device(dev) };
        // SAFETY: as in `suspend_callback`.
        match unsafe { Self::data(dev) } {
            Some(data) => from_result(|| T::resume(dev, data).map(|()| 0)),
            None => 0,
        }
    }

    /// Called for all devices of the bus that this driver seems to be bound to, without any lock.
    unsafe extern "C" fn is_ready_callback(dev: *mut bindings::xenbus_device) -> c_int {
        // SAFETY: xenbus holds a reference.
        let generic = unsafe { &raw mut (*dev).dev };
        // A device whose lock is taken is being bound or unbound; xenbus asks again soon.
        // SAFETY: the device is valid.
        if !unsafe { bindings::portico_device_trylock(generic) } {
            return 0;
        }
        let ready = {
            // SAFETY: as above, for the time of the call.
            let dev = unsafe { Self::device(dev) };
            // SAFETY: under the lock the driver does not change.
            let bound = unsafe { Self::is_bound(dev.as_raw()) };
            // SAFETY: this adapter's driver is bound, and is not unbound under the lock.
            bound && unsafe { Self::data(dev) }.is_some_and(T::is_ready)
        };
        // SAFETY: locked above.
        unsafe { bindings::portico_device_unlock(generic) };
        c_int::from(ready)
    }

    /// Whether the driver of this adapter is bound to the device.
    ///
    /// # Safety
    ///
    /// `dev` is valid and its lock held.
    unsafe fn is_bound(dev: *mut bindings::xenbus_device) -> bool {
        type IsReady = unsafe extern "C" fn(*mut bindings::xenbus_device) -> c_int;
        // SAFETY: the caller says that the device is valid and locked; a driver of a device on xenbus
        // is embedded in a `struct xenbus_driver`.
        let is_ready = unsafe {
            let driver = (*dev).dev.driver;
            if driver.is_null() {
                return false;
            }
            let offset = offset_of!(bindings::xenbus_driver, driver);
            (*driver.byte_sub(offset).cast::<bindings::xenbus_driver>()).is_ready
        };
        is_ready.is_some_and(|f| fn_addr_eq(f, Self::is_ready_callback as IsReady))
    }
}

/// Fills the table at compile time, and only then: no code is made of it.
#[inline]
const fn id_table(types: &[&str]) -> IdTable {
    assert!(
        !types.is_empty() && types.len() <= MAX_TYPES,
        "one to four device types"
    );
    let mut table = [bindings::xenbus_device_id {
        devicetype: [0; 32],
    }; MAX_TYPES + 1];
    let mut row = 0;
    while row < types.len() {
        let name = types[row].as_bytes();
        assert!(
            !name.is_empty() && name.len() < 32,
            "a device type has 1 to 31 bytes"
        );
        let mut at = 0;
        while at < name.len() {
            table[row].devicetype[at] = name[at];
            at += 1;
        }
        row += 1;
    }
    table
}

/// Declares a module that is one xenbus driver and nothing else.
///
/// # Examples
///
/// ```ignore
/// portico::module_xenbus_driver! {
///     type: MyDriver,
///     name: "my_driver",
///     authors: ["Author name"],
///     description: "Description",
///     license: "GPL",
///     alias: ["xen:my"],
/// }
/// ```
#[macro_export]
macro_rules! module_xenbus_driver {
    ($($f:tt)*) => {
        ::kernel::module_driver!(<T>, $crate::xenbus::Adapter<T>, { $($f)* });
    };
}
