// SPDX-License-Identifier: GPL-2.0-only

//! Module parameters that can be seen, and changed, under `/sys/module`.
//!
//! The parameters of the kernel's `module!` macro have no file there. These do, with the permissions
//! that they are declared with.
//!
//! C header: `include/linux/moduleparam.h`

use core::cell::UnsafeCell;
use kernel::prelude::*;
use portico_bindings as bindings;

/// A module parameter, declared with [`module_param!`](crate::module_param).
///
/// The kernel parses what the user gives and writes it; a read sees the old or the new value.
#[repr(transparent)]
pub struct Param<T: Kind>(UnsafeCell<T>);

// SAFETY: the value is a machine word that both C and Rust read and write at once.
unsafe impl<T: Kind> Sync for Param<T> {}

impl<T: Kind> Param<T> {
    #[doc(hidden)]
    pub const fn new(default: T) -> Self {
        Self(UnsafeCell::new(default))
    }

    /// The present value.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: the cell is valid and aligned. It can change meanwhile, as in C's `READ_ONCE`.
        unsafe { self.0.get().read_volatile() }
    }

    /// Puts another value in place, for one that was out of range.
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) };
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The types that a parameter can have: those of C's `uint`, `int` and `bool`.
pub trait Kind: Copy + sealed::Sealed {
    #[doc(hidden)]
    const OPS: *const bindings::kernel_param_ops;
}

macro_rules! kind {
    ($type:ty, $ops:ident) => {
        impl sealed::Sealed for $type {}
        impl Kind for $type {
            const OPS: *const bindings::kernel_param_ops = &raw const bindings::$ops;
        }
    };
}

kind!(u32, param_ops_uint);
kind!(i32, param_ops_int);
kind!(bool, param_ops_bool);

/// The names of the types in C, as `modinfo` shows them.
#[doc(hidden)]
pub mod types {
    #![expect(non_camel_case_types)]
    pub type uint = u32;
    pub type int = i32;
    pub type bool = core::primitive::bool;
}

/// A parameter as the kernel's loader finds it.
#[doc(hidden)]
#[repr(transparent)]
pub struct Record(bindings::kernel_param);

// SAFETY: only C uses it, and only to read it.
unsafe impl Sync for Record {}

impl Record {
    /// # Safety
    ///
    /// `module` is the module that the record is part of.
    pub const unsafe fn new<T: Kind>(
        name: &'static CStr,
        module: *const bindings::module,
        permissions: u16,
        param: &'static Param<T>,
    ) -> Self {
        assert!(permissions & !0o644 == 0, "0, 0o444, 0o644 or the like");
        Self(bindings::kernel_param {
            name: name.as_ptr().cast(),
            mod_: module.cast_mut(),
            ops: T::OPS,
            perm: permissions,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: param.0.get().cast(),
            },
        })
    }
}

/// The bytes of a text, for a section of the module.
#[doc(hidden)]
#[inline]
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(text.len() == N);
    let mut array = [0; N];
    let mut at = 0;
    while at < N {
        array[at] = text[at];
        at += 1;
    }
    array
}

/// Declares a module parameter.
///
/// # Examples
///
/// ```ignore
/// portico::module_param! {
///     /// How many queues a device gets at most.
///     static MAX_QUEUES: uint = 4;
///     name: "max_queues",
///     permissions: 0o444,
///     description: "Maximum number of queues per virtual disk",
/// }
///
/// let queues = MAX_QUEUES.get();
/// ```
#[macro_export]
macro_rules! module_param {
    (
        $(#[$meta:meta])*
        $vis:vis static $param:ident: $type:ident = $default:expr;
        name: $name:literal,
        permissions: $permissions:literal,
        description: $description:literal $(,)?
    ) => {
        $(#[$meta])*
        $vis static $param: $crate::param::Param<$crate::param::types::$type> =
            $crate::param::Param::new($default);

        const _: () = {
            #[link_section = "__param"]
            #[used(compiler)]
            // SAFETY: `__this_module` is the module that this is compiled into.
            static RECORD: $crate::param::Record = unsafe {
                const NAME: &::core::ffi::CStr =
                    match ::core::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a NUL in the name"),
                    };
                $crate::param::Record::new(
                    NAME,
                    &raw const $crate::bindings::__this_module,
                    $permissions,
                    &$param,
                )
            };

            const TYPE: &str = concat!("parmtype=", $name, ":", stringify!($type), "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static TYPE_INFO: [u8; TYPE.len()] = $crate::param::bytes(TYPE);

            const DESCRIPTION: &str = concat!("parm=", $name, ":", $description, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static DESCRIPTION_INFO: [u8; DESCRIPTION.len()] = $crate::param::bytes(DESCRIPTION);
        };
    };
}
