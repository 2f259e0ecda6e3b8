// SPDX-License-Identifier: GPL-2.0-only

//! Programs that see frames before the stack does (XDP).
//!
//! C headers: [`include/net/xdp.h`](srctree/include/net/xdp.h),
//! [`include/linux/filter.h`](srctree/include/linux/filter.h)

use core::{cell::UnsafeCell, mem, ptr, ptr::NonNull, slice};
use portico_bindings as bindings;

use super::{napi::Poll, new_skb::NewSkb, operations::Operations, xdp_buff::XdpBuff};

/// Room that a program finds in front of a frame, in bytes.
pub const XDP_HEADROOM: u32 = bindings::XDP_PACKET_HEADROOM;

/// The longest frame in one page that a program can be given, and the most that the first page of several
/// holds, in bytes.
pub const XDP_MAX_LEN: u32 = NewSkb::LINEAR_END - XDP_HEADROOM;

/// The program of a device, if it has one.
///
/// # Invariants
///
/// The pointer is null or a program of which a reference is owned. It is written under the RTNL. One that
/// was taken out is freed only after whoever reads it with softirqs off is done.
pub(super) struct Slot(UnsafeCell<*mut bindings::bpf_prog>);

// SAFETY: the word is written under the RTNL and read as a whole.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) const fn new() -> Self {
        // INVARIANT: there is none.
        Self(UnsafeCell::new(ptr::null_mut()))
    }

    #[inline]
    pub(super) fn get(&self) -> *mut bindings::bpf_prog {
        // SAFETY: the cell is valid. What the word leads to was complete before it was stored, and is
        // reached through it.
        unsafe { self.0.get().read_volatile() }
    }

    /// Exchanges the program, and gives the reference to the former one back.
    ///
    /// # Safety
    ///
    /// Under the RTNL; `program` is null or comes with a reference, which is taken over.
    pub(super) unsafe fn set(&self, program: *mut bindings::bpf_prog) {
        let before = self.get();
        // INVARIANT: by the caller's promise.
        // SAFETY: only the holder of the RTNL writes.
        unsafe {
            bindings::portico_store_release(self.0.get().cast(), program.cast());
            if !before.is_null() {
                // It is freed after a grace period.
                bindings::bpf_prog_put(before);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { self.set(ptr::null_mut()) };
    }
}

/// A program, as a poll sees it.
///
/// # Invariants
///
/// `program` is valid during `'a`, while softirqs are off.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    program: NonNull<bindings::bpf_prog>,
    _bh: super::BhOff<'a>,
}

/// What a program can be run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpKind {
    /// Frames in one page.
    OnePage,
    /// Others, too.
    ManyPages,
}

/// What a program has decided.
pub enum XdpVerdict<'a> {
    /// The frame goes on to the stack, as it is now.
    Pass(XdpBuff<'a>),
    /// It goes back where it came from.
    Tx(XdpFrame),
    /// It was sent elsewhere. [`Poll::flush_xdp`](super::Poll::flush_xdp) must follow in the same poll.
    Redirected,
    /// It is gone.
    Dropped,
}

impl<'a> Program<'a> {
    /// # Safety
    ///
    /// `program` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn new(program: NonNull<bindings::bpf_prog>, bh: super::BhOff<'a>) -> Self {
        // INVARIANT: by the caller's promise.
        Self { program, _bh: bh }
    }

    /// Whether it stands frames of several pages.
    #[inline]
    pub fn takes_pages(&self) -> bool {
        // SAFETY: by the invariants.
        unsafe { bindings::portico_xdp_takes_pages(self.program.as_ptr()) }
    }

    /// Runs it on a frame, which is of several pages only if it [`takes_pages`](Self::takes_pages).
    pub fn run<'b, T: Operations>(
        self,
        poll: &Poll<'b, T>,
        mut buff: XdpBuff<'b>,
    ) -> XdpVerdict<'b> {
        let program = self.program.as_ptr();
        let dev = poll.queue().raw_dev();
        // SAFETY: the frame is ours alone.
        let act = unsafe { bindings::portico_xdp_run(program, buff.as_raw()) };
        match act {
            bindings::xdp_action_XDP_PASS => XdpVerdict::Pass(buff),
            bindings::xdp_action_XDP_TX => match buff.into_frame() {
                Some(frame) => XdpVerdict::Tx(frame),
                None => self.failed(dev, act),
            },
            bindings::xdp_action_XDP_REDIRECT => {
                // SAFETY: as above; the pages go with it if that succeeds.
                match unsafe { bindings::xdp_do_redirect(dev, buff.as_raw(), program) } {
                    0 => {
                        buff.forget();
                        XdpVerdict::Redirected
                    }
                    _ => self.failed(dev, act),
                }
            }
            bindings::xdp_action_XDP_DROP => XdpVerdict::Dropped,
            bindings::xdp_action_XDP_ABORTED => self.failed(dev, act),
            _ => {
                // SAFETY: device and program are valid.
                unsafe { bindings::bpf_warn_invalid_xdp_action(dev, program, act) };
                self.failed(dev, act)
            }
        }
    }

    /// Lets those know who trace that.
    #[cold]
    fn failed(&self, dev: *mut bindings::net_device, act: u32) -> XdpVerdict<'static> {
        // SAFETY: device and program are valid.
        unsafe { bindings::portico_xdp_exception(dev, self.program.as_ptr(), act) };
        XdpVerdict::Dropped
    }
}

/// A frame that a program sends. One that is dropped goes back where its memory comes from.
///
/// # Invariants
///
/// `frame` is valid, and owned with its memory.
pub struct XdpFrame {
    frame: NonNull<bindings::xdp_frame>,
}

// SAFETY: a frame may be returned by any thread.
unsafe impl Send for XdpFrame {}
// SAFETY: through `&XdpFrame` it is only read.
unsafe impl Sync for XdpFrame {}

impl XdpFrame {
    /// # Safety
    ///
    /// `frame` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn from_raw(frame: NonNull<bindings::xdp_frame>) -> Self {
        // INVARIANT: by the caller's promise.
        Self { frame }
    }

    /// Length in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a frame has a header")]
    pub fn len(&self) -> u32 {
        let more = self.frags().iter().map(|frag| frag.len);
        self.first_len().wrapping_add(more.sum())
    }

    /// Bytes in its first page.
    #[inline]
    pub(super) fn first_len(&self) -> u32 {
        // SAFETY: by the invariants.
        unsafe { self.frame.as_ref() }.len
    }

    #[inline]
    pub(super) fn data(&self) -> *const u8 {
        // SAFETY: by the invariants.
        unsafe { self.frame.as_ref() }.data.cast()
    }

    /// Its further pages.
    #[inline]
    pub(super) fn frags(&self) -> &[bindings::skb_frag_t] {
        // SAFETY: by the invariants.
        let shared = unsafe { bindings::portico_xdp_frame_shared(self.frame.as_ptr()) };
        if shared.is_null() {
            return &[];
        }
        // SAFETY: so many of them are there, and stay as they are.
        unsafe {
            let first = (&raw const (*shared).frags).cast();
            slice::from_raw_parts(first, usize::from((*shared).nr_frags))
        }
    }
}

impl Drop for XdpFrame {
    fn drop(&mut self) {
        // SAFETY: owned, and given back once.
        unsafe { bindings::xdp_return_frame(self.frame.as_ptr()) };
    }
}

/// Frames that come together to be sent.
pub struct XdpFrames<'a> {
    frames: &'a [*mut bindings::xdp_frame],
    taken: usize,
}

impl<'a> XdpFrames<'a> {
    /// # Safety
    ///
    /// The frames are valid, in one piece each, and those that are taken are handed over.
    pub(super) unsafe fn new(frames: &'a [*mut bindings::xdp_frame]) -> Self {
        Self { frames, taken: 0 }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Gives the frame back that was taken last: it is not sent, and neither are those that follow.
    pub fn refuse(&mut self, frame: XdpFrame) {
        self.taken = self.taken.saturating_sub(1);
        self.frames = &[];
        // The stack returns it.
        mem::forget(frame);
    }
}

impl Iterator for XdpFrames<'_> {
    type Item = XdpFrame;

    fn next(&mut self) -> Option<XdpFrame> {
        let frame = NonNull::new(*self.frames.get(self.taken)?)?;
        self.taken += 1;
        // SAFETY: handed over, by the promise of `new`.
        Some(unsafe { XdpFrame::from_raw(frame) })
    }
}
