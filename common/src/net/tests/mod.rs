// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engines against a back end that does what the protocol says, and one step beside it; and against
//! one that does as it likes.

mod ctrl;
mod hostile;
mod negotiate;
mod rx;
mod toeplitz;
mod tx;
