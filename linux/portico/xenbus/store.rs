// SPDX-License-Identifier: GPL-2.0-only

//! Keys of the store, and transactions on them.
//!
//! All functions here sleep until xenstored has answered.

use core::{fmt, ops::Deref, ptr::NonNull, slice};
use kernel::{error::from_err_ptr, error::to_result, prelude::*};
use portico_bindings as bindings;
use portico_core::xenbus::{Keys, Problem, NUMBER_LEN};

use super::text::{Text, KEY_SIZE};

/// How often a transaction is tried when others change what it touches.
const ATTEMPTS: u32 = 64;

/// The identifier that stands for no transaction.
const NIL: u32 = 0;

fn raw(id: u32) -> bindings::xenbus_transaction {
    bindings::xenbus_transaction { id }
}

/// The value of a key, as the store holds it: any bytes, at most 4096 of them, not trusted.
///
/// # Invariants
///
/// `data` was returned by `xenbus_read` with `len` bytes, and is owned.
pub struct Value {
    data: NonNull<u8>,
    len: usize,
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: by the invariants, `data` leads to `len` bytes that nobody else refers to.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: by the invariants, `data` is owned memory from `kmalloc`.
        unsafe { bindings::kfree(self.data.as_ptr().cast()) };
    }
}

// SAFETY: `Value` owns plain memory.
unsafe impl Send for Value {}
// SAFETY: a shared `Value` is only read.
unsafe impl Sync for Value {}

/// The other end's directory, to be read only. It also answers the core's [`Keys`].
pub struct OtherEnd<'a> {
    dir: &'a CStr,
}

impl<'a> OtherEnd<'a> {
    pub(super) fn new(dir: &'a CStr) -> Self {
        Self { dir }
    }

    /// Reads `key`. `None`: there is no such key.
    pub fn read(&self, key: impl fmt::Display) -> Result<Option<Value>> {
        read_in(NIL, self.dir, &Text::new(key)?)
    }
}

impl Keys for OtherEnd<'_> {
    fn read(&self, key: &str, value: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem> {
        copy(self.read(key), value)
    }
}

impl Keys for Node<'_> {
    fn read(&self, key: &str, value: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem> {
        copy(self.read(key), value)
    }
}

/// Copies what was read as far as it fits; its whole length.
fn copy(
    found: Result<Option<Value>>,
    value: &mut [u8; NUMBER_LEN],
) -> Result<Option<usize>, Problem> {
    let Some(found) = found.map_err(|_| Problem::Unreadable)? else {
        return Ok(None);
    };
    for (to, from) in value.iter_mut().zip(found.iter()) {
        *to = *from;
    }
    Ok(Some(found.len()))
}

fn read_in(transaction: u32, dir: &CStr, key: &Text<KEY_SIZE>) -> Result<Option<Value>> {
    let mut len = 0;
    // SAFETY: both strings are NUL-terminated, and `len` may be written.
    let data = unsafe {
        bindings::xenbus_read(
            raw(transaction),
            dir.as_char_ptr(),
            key.as_char_ptr(),
            &mut len,
        )
    };
    match from_err_ptr(data.cast::<u8>()) {
        Ok(data) => {
            let data = NonNull::new(data).ok_or(EIO)?;
            // INVARIANT: `xenbus_read` hands over `len` bytes of `kmalloc`ed memory.
            Ok(Some(Value {
                data,
                len: len as usize,
            }))
        }
        Err(error) if error == ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_in(
    transaction: u32,
    dir: &CStr,
    key: &Text<KEY_SIZE>,
    value: &fmt::Arguments<'_>,
) -> Result {
    // SAFETY: the strings are NUL-terminated, and `%pA` takes a pointer to `fmt::Arguments`, which
    // lives until after the call.
    to_result(unsafe {
        bindings::xenbus_printf(
            raw(transaction),
            dir.as_char_ptr(),
            key.as_char_ptr(),
            c"%pA".as_char_ptr(),
            core::ptr::from_ref(value).cast::<kernel::ffi::c_void>(),
        )
    })
}

fn remove_in(transaction: u32, dir: &CStr, key: &Text<KEY_SIZE>) -> Result {
    // SAFETY: both strings are NUL-terminated.
    match to_result(unsafe {
        bindings::xenbus_rm(raw(transaction), dir.as_char_ptr(), key.as_char_ptr())
    }) {
        Err(error) if error == ENOENT => Ok(()),
        other => other,
    }
}

/// A device's own directory, outside of any transaction or within one. It also answers the core's
/// [`Keys`].
///
/// Keys and values are whatever can be displayed: `"state"`, or
/// `format_args!("queue-{n}/event-channel")`.
pub struct Node<'a> {
    dir: &'a CStr,
    transaction: u32,
}

impl<'a> Node<'a> {
    /// The directory `dir`, outside of any transaction.
    pub(super) fn new(dir: &'a CStr) -> Self {
        Self {
            dir,
            transaction: NIL,
        }
    }

    /// Reads `key`. `None`: there is no such key.
    pub fn read(&self, key: impl fmt::Display) -> Result<Option<Value>> {
        read_in(self.transaction, self.dir, &Text::new(key)?)
    }

    /// Writes `key`, which is made if it does not exist.
    pub fn write(&self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        write_in(
            self.transaction,
            self.dir,
            &Text::new(key)?,
            &format_args!("{value}"),
        )
    }

    /// Removes `key` with all below it. One that is not there is no error.
    pub fn remove(&self, key: impl fmt::Display) -> Result {
        remove_in(self.transaction, self.dir, &Text::new(key)?)
    }

    /// Runs `body` in a transaction and commits it; `body` fails: nothing was changed.
    ///
    /// `body` runs again when somebody else changed what it touched, up to a bound, after which the
    /// error is `EAGAIN`.
    pub(super) fn transaction<R>(&self, mut body: impl FnMut(&Node<'_>) -> Result<R>) -> Result<R> {
        for _ in 0..ATTEMPTS {
            let mut transaction = raw(NIL);
            // SAFETY: `transaction` may be written.
            to_result(unsafe { bindings::xenbus_transaction_start(&mut transaction) })?;
            let result = body(&Node {
                dir: self.dir,
                transaction: transaction.id,
            });
            // SAFETY: the transaction was started above and is ended once.
            let ended = to_result(unsafe {
                bindings::xenbus_transaction_end(transaction, result.is_err())
            });
            match (result, ended) {
                (Err(error), _) => return Err(error),
                (Ok(value), Ok(())) => return Ok(value),
                (Ok(_), Err(error)) if error == EAGAIN => (),
                (Ok(_), Err(error)) => return Err(error),
            }
        }
        Err(EAGAIN)
    }
}
