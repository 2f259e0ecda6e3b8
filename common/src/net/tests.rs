// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engines against a back end that does what the protocol says, and one step beside it.
