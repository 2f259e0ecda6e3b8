// SPDX-License-Identifier: GPL-2.0-only

//! The device.

use core::{fmt, marker::PhantomData, ptr::NonNull};
use kernel::{
    device,
    error::to_result,
    prelude::*,
    str::{BStr, CString},
    sync::aref::AlwaysRefCounted,
    types::Opaque,
};
use portico_bindings as bindings;

use super::{state_from_raw, Node, OtherEnd, State, Value};

/// A device on the front-end side of xenbus.
///
/// `Ctx` tells where the reference stems from, as for [`kernel::device::Device`]. What belongs to the
/// other end can be reached only in a callback of the driver ([`device::Core`]): xenbus exchanges it
/// when the domain is resumed, but never while a callback runs. What belongs to this end can be
/// reached as long as the device exists.
///
/// # Invariants
///
/// A valid `struct xenbus_device`, with a reference held while the value is borrowed.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::xenbus_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    /// The C structure.
    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::xenbus_device {
        self.0.get()
    }

    /// The path of the device's own directory, such as `device/vbd/51712`.
    pub fn nodename(&self) -> &CStr {
        // SAFETY: the string is part of the device's allocation and never changes.
        unsafe { CStr::from_char_ptr((*self.as_raw()).nodename) }
    }

    /// The name on the bus, such as `vbd-51712`.
    pub fn name(&self) -> &CStr {
        let dev: &device::Device<Ctx> = self.as_ref();
        dev.name()
    }

    /// The state of this end, as it was last switched to.
    pub fn state(&self) -> State {
        // SAFETY: the device is valid. Others may change the word meanwhile, so it is read once.
        state_from_raw(unsafe { (&raw const (*self.as_raw()).state).read_volatile() })
    }

    /// Tells the other end about a new state of this end. Sleeps.
    ///
    /// When the store cannot be written, xenbus logs that and tries to switch to `Closing`; there is
    /// nothing to be done by the caller. A device whose directory has vanished stays as it is.
    pub fn switch_state(&self, state: State) {
        // SAFETY: the device is valid. The result is always 0.
        unsafe { bindings::xenbus_switch_state(self.as_raw(), state as bindings::xenbus_state) };
    }

    /// Switches to `Closed`, and lets a shutdown go on that waits for that. Sleeps.
    pub fn closed(&self) {
        // SAFETY: the device is valid.
        unsafe { bindings::xenbus_frontend_closed(self.as_raw()) };
    }

    /// The state of the back end as the store has it now, where the key `backend` leads. Sleeps.
    pub fn backend_state(&self) -> State {
        let Ok(Some(path)) = self.read("backend") else {
            return State::Unknown;
        };
        let Ok(path) = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(&path))) else {
            return State::Unknown;
        };
        self.state_at(&path)
    }

    /// The state that the store has for the device at this path.
    fn state_at(&self, path: &CStr) -> State {
        // SAFETY: the device is valid, and the path is NUL-terminated.
        state_from_raw(unsafe {
            bindings::xenbus_read_driver_state(self.as_raw(), path.as_char_ptr())
        })
    }

    /// The device's own directory.
    pub fn node(&self) -> Node<'_> {
        Node::new(self.nodename())
    }

    /// Reads a key of the device's own directory. `None`: there is no such key. Sleeps.
    pub fn read(&self, key: impl fmt::Display) -> Result<Option<Value>> {
        self.node().read(key)
    }

    /// Writes a key of the device's own directory. Sleeps.
    pub fn write(&self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        self.node().write(key, value)
    }

    /// Removes a key of the device's own directory. One that is not there is no error. Sleeps.
    pub fn remove(&self, key: impl fmt::Display) -> Result {
        self.node().remove(key)
    }

    /// Runs `body` in a transaction and commits it. When `body` fails, nothing was changed. Sleeps.
    ///
    /// `body` runs again, up to a bound, when somebody else changed what it touched; then `EAGAIN`.
    pub fn transaction<R>(&self, body: impl FnMut(&Node<'_>) -> Result<R>) -> Result<R> {
        self.node().transaction(body)
    }

    /// Logs what went wrong, in the kernel's log and under `error/` in the store. Sleeps.
    pub fn error(&self, error: Error, message: fmt::Arguments<'_>) {
        // SAFETY: the device is valid, and `%pA` takes a pointer to `fmt::Arguments`, which lives until
        // after the call.
        unsafe {
            bindings::xenbus_dev_error(
                self.as_raw(),
                error.to_errno(),
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&message).cast::<kernel::ffi::c_void>(),
            )
        };
    }

    /// Like [`error`](Self::error), and switches to `Closing`: the device is of no more use. Sleeps.
    pub fn fatal(&self, error: Error, message: fmt::Arguments<'_>) {
        // SAFETY: as in `error`.
        unsafe {
            bindings::xenbus_dev_fatal(
                self.as_raw(),
                error.to_errno(),
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&message).cast::<kernel::ffi::c_void>(),
            )
        };
    }
}

impl Device<device::Core<'_>> {
    /// The path of the other end's directory. `None` after a resume that did not find it.
    pub fn otherend(&self) -> Option<&CStr> {
        // SAFETY: the device is valid. While a callback of the driver runs, xenbus does not exchange
        // the string: it unregisters the watch, which waits for its callback, and holds the device's
        // lock for the others.
        let path = unsafe { (*self.as_raw()).otherend };
        // SAFETY: not null, so it is a string that lives until the callback has returned.
        (!path.is_null()).then(|| unsafe { CStr::from_char_ptr(path) })
    }

    /// The domain of the other end.
    pub fn otherend_id(&self) -> bindings::domid_t {
        // SAFETY: the device is valid, and the word is not written while a callback runs.
        let id = unsafe { (*self.as_raw()).otherend_id };
        // A domain id has 16 bits everywhere in Xen's interface; the toolstack wrote this one.
        id as bindings::domid_t
    }

    /// The keys of the other end. Fails with `ENODEV` after a resume that did not find it.
    pub fn otherend_keys(&self) -> Result<OtherEnd<'_>> {
        Ok(OtherEnd::new(self.otherend().ok_or(ENODEV)?))
    }

    /// The state of the other end as the store has it now. Sleeps.
    pub fn otherend_state(&self) -> State {
        let Some(path) = self.otherend() else {
            return State::Unknown;
        };
        self.state_at(path)
    }

    /// Takes an event channel that the other end's domain can bind to. See [`crate::event`].
    pub(crate) fn alloc_evtchn(&self) -> Result<bindings::evtchn_port_t> {
        let mut port = 0;
        // SAFETY: the device is valid, and `port` may be written.
        to_result(unsafe { bindings::xenbus_alloc_evtchn(self.as_raw(), &mut port) })?;
        Ok(port)
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: a valid `struct xenbus_device` holds a valid `struct device`, which lives as long.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: `struct xenbus_device` is counted through its `struct device`, whose release frees it.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: the shared reference says that the count is not zero.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller gives up a reference, so the device is valid until then.
        unsafe {
            bindings::put_device(&raw mut (*obj.cast::<bindings::xenbus_device>().as_ptr()).dev)
        };
    }
}

// SAFETY: a `struct device` may be released from any thread.
unsafe impl Send for Device {}

// SAFETY: everything that a shared `Device` offers is synchronised by xenbus, reads what never
// changes, or reads one word.
unsafe impl Sync for Device {}
