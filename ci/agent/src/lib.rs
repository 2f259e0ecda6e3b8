// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab's agent: one static program that is the first process of dom0 and of guests, brings the
//! system up and then does what the host asks for, with structured answers.
//!
//! ```text
//! host (portico-lab) ── JSON lines, virtio-serial ── agent in dom0 ── xenstore ── agent in a guest
//! ```
//!
//! The library half holds the types of that conversation ([`proto`]), which the host uses too.

pub mod agent;
pub mod boot;
pub mod channel;
pub mod disk;
pub mod dom0;
pub mod exec;
pub mod fio;
pub mod guest;
pub mod klog;
pub mod modules;
pub mod net;
pub mod proto;
