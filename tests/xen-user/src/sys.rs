// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls that the devices need, with the kernel's argument structures checked by type.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::NonNull;
use std::time::Duration;

/// Bytes in a page of x86.
pub(crate) const PAGE: usize = 4096;

/// `_IOC(_IOC_NONE, group, nr, size)`: Xen's ioctls state no direction.
pub(crate) const fn ioc(group: u8, nr: u8, size: usize) -> libc::c_ulong {
    ((size as libc::c_ulong) << 16) | ((group as libc::c_ulong) << 8) | nr as libc::c_ulong
}

/// Opens a device for reading and writing. `extra` holds further open flags.
pub(crate) fn open(path: &'static str, extra: i32) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | extra)
        .open(path)
        .map_err(|source| Error::Open { path, source })
}

/// Issues an ioctl whose argument is one `T`, and returns what the kernel returned.
///
/// # Safety
///
/// `request` must be one for which the kernel reads and writes no more than the `T` behind `arg` and
/// memory that `arg` itself points to, which must be valid for that.
pub(crate) unsafe fn ioctl<T>(file: &File, request: libc::c_ulong, arg: &mut T) -> Option<i32> {
    // SAFETY: `file` is open, and by this function's contract the kernel stays within `arg`.
    let got = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(arg)) };
    (got >= 0).then_some(got)
}

/// A range of whole pages mapped into this process, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapped {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the range is owned by this value, stays mapped until it is dropped, and any thread of the
// process may reach it.
unsafe impl Send for Mapped {}
// SAFETY: as above; shared use only hands out the address, what is done with it is the user's duty.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `pages` pages of `file` from `offset` bytes on, shared, for reading and perhaps writing.
    pub(crate) fn new(file: &File, pages: usize, offset: u64, write: bool) -> Option<Self> {
        let len = pages.checked_mul(PAGE)?;
        let prot = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh range chosen by the kernel is asked for, so that no memory in use changes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            return None;
        }
        Some(Mapped {
            at: NonNull::new(at.cast())?,
            len,
        })
    }

    pub(crate) fn at(&self) -> NonNull<u8> {
        self.at
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nothing borrows it any more. There is nothing to do
        // about a failure, which the kernel only gives for a range that was never mapped.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// Which of the descriptors given to [`poll_readable`] have something to read.
pub type Readable = Vec<bool>;

/// Waits until one of `fds` can be read, or until `timeout` has passed (`None`: for ever).
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Readable> {
    let mut set: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // Round up: a wait of less than a millisecond must not become a busy loop.
    let ms = timeout.map_or(-1, |t| {
        i32::try_from(t.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    // SAFETY: `set` is an array of as many entries as are stated, and lives through the call.
    let got = unsafe { libc::poll(set.as_mut_ptr(), set.len() as libc::nfds_t, ms) };
    if got < 0 {
        let source = std::io::Error::last_os_error();
        if source.kind() != std::io::ErrorKind::Interrupted {
            return Err(Error::Call {
                what: "wait for events".into(),
                source,
            });
        }
    }
    Ok(set.iter().map(|p| p.revents != 0).collect())
}
