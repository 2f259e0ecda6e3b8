// SPDX-License-Identifier: GPL-2.0-only

//! Event channels.
//!
//! An event channel is Xen's interrupt between two domains. The kernel gives it an interrupt number;
//! its end-of-interrupt is delayed until the handler has said what it found ("lateeoi"), so that a
//! back end which sends events for nothing is slowed down (XSA-391).
//!
//! C header: `include/xen/events.h`

use kernel::{
    device::Core,
    ffi::{c_int, c_uint, c_void},
    fmt,
    prelude::*,
    str::CString,
    sync::Arc,
    types::ForeignOwnable,
};
use portico_bindings as bindings;

use crate::xenbus::Device;

/// What a handler found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There was something to do.
    Handled,
    /// There was nothing to do. The more often in a row, the later comes the next event.
    Spurious,
    /// The other end is not to be listened to any more: no further event is let through. The channel
    /// can then only be dropped.
    Silence,
}

/// Handles the events of a channel.
pub trait Handler: Send + Sync + 'static {
    /// Called in hard interrupt context, with interrupts disabled, and for one channel not
    /// concurrently with itself. From the moment the channel is bound, that is even before
    /// [`Channel::new`] has returned.
    fn handle(&self) -> Verdict;
}

/// An event channel to the other end of a device, with its handler.
///
/// Dropping it waits for a running handler, unbinds it and closes the channel; so it must not be
/// dropped in atomic context or by the handler itself.
///
/// # Invariants
///
/// `irq` is bound to `port` by the name `_name`, with `handler` as its handler's argument, which came from
/// `Arc::into_foreign`.
pub struct Channel<T: Handler> {
    port: bindings::evtchn_port_t,
    irq: c_uint,
    handler: *mut c_void,
    _name: CString,
    _owns: core::marker::PhantomData<Arc<T>>,
}

impl<T: Handler> Channel<T> {
    /// Takes a channel that the other end's domain can bind to, and listens on it. Sleeps.
    ///
    /// `name` is what `/proc/interrupts` shows.
    pub fn new(dev: &Device<Core<'_>>, name: fmt::Arguments<'_>, handler: Arc<T>) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        let port = dev.alloc_evtchn()?;
        let handler = handler.into_foreign();
        // SAFETY: name and handler stay valid until the channel is dropped, or until they are taken back
        // below.
        let irq = unsafe {
            bindings::bind_evtchn_to_irqhandler_lateeoi(
                port,
                Some(Self::irq_handler),
                0,
                name.as_char_ptr(),
                handler,
            )
        };
        match c_uint::try_from(irq) {
            // INVARIANT: bound just now.
            Ok(irq) => Ok(Self {
                port,
                irq,
                handler,
                _name: name,
                _owns: core::marker::PhantomData,
            }),
            Err(_) => {
                // The port is left as it is: depending on how far it came, the kernel has closed it,
                // and somebody else may have it by now.
                // SAFETY: nothing was bound, so this is the only user.
                drop(unsafe { Arc::<T>::from_foreign(handler) });
                Err(Error::from_errno(irq))
            }
        }
    }

    /// The number of the channel, for the store.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The interrupt number.
    pub fn irq(&self) -> u32 {
        self.irq
    }

    /// Sends an event to the other end. May be called in any context.
    #[inline]
    pub fn notify(&self) {
        self.notifier().notify();
    }

    /// A handle that can only send events.
    #[inline]
    pub fn notifier(&self) -> Notifier {
        Notifier {
            irq: self.irq as c_int,
        }
    }

    /// Waits until a handler that is running now has returned. Must not be called by the handler.
    pub fn synchronize(&self) {
        // SAFETY: the interrupt is bound by the invariants.
        unsafe { bindings::synchronize_irq(self.irq) };
    }

    unsafe extern "C" fn irq_handler(irq: c_int, handler: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: the argument was made by `into_foreign`, and is taken back only after the interrupt
        // was freed, which waits for this function.
        let handler = unsafe { <Arc<T> as ForeignOwnable>::borrow(handler) };
        let flags = match handler.handle() {
            Verdict::Handled => Some(0),
            Verdict::Spurious => Some(bindings::XEN_EOI_FLAG_SPURIOUS),
            Verdict::Silence => None,
        };
        if let Some(flags) = flags {
            // SAFETY: the kernel called this function for `irq`, which was bound as lateeoi.
            unsafe { bindings::xen_irq_lateeoi(irq as c_uint, flags) };
        }
        bindings::irqreturn::IRQ_HANDLED
    }
}

impl<T: Handler> Drop for Channel<T> {
    fn drop(&mut self) {
        // SAFETY: bound by the invariants; this closes the port, too.
        unsafe { bindings::unbind_from_irqhandler(self.irq, self.handler) };
        // SAFETY: it came from `into_foreign`, and the handler does not run any more.
        drop(unsafe { Arc::<T>::from_foreign(self.handler) });
    }
}

// SAFETY: a channel can be unbound from any thread, and `T` is `Send` and `Sync`.
unsafe impl<T: Handler> Send for Channel<T> {}
// SAFETY: a shared channel can only send events and tell its numbers.
unsafe impl<T: Handler> Sync for Channel<T> {}

/// Sends events on a channel that is owned elsewhere.
///
/// Once the channel is gone, an event goes nowhere, or to a channel that got the same interrupt
/// number later; the receiver takes it for a spurious one.
#[derive(Clone, Copy, Debug)]
pub struct Notifier {
    irq: c_int,
}

impl Notifier {
    /// Sends an event. May be called in any context.
    #[inline]
    pub fn notify(self) {
        // SAFETY: the function checks what it is given.
        unsafe { bindings::notify_remote_via_irq(self.irq) };
    }
}
