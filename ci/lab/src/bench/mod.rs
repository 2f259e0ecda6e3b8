// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks: the stock drivers and ours side by side, and what to make of the numbers.
//!
//! [`jobs`] says what is measured and [`plan`] in which order; [`bed`] is the machine with a guest, whose
//! [`disk`] or [`net`] is at work there, and in which [`timed`] and [`counted`] measure, the latter with [`hits`] and [`profile`]; [`sample`], [`stats`] and [`summary`] are the numbers;
//! [`text`], [`html`] and [`plot`] show them.

pub mod bed;
pub mod counted;
pub mod disk;
pub mod hits;
pub mod html;
pub mod jobs;
pub mod net;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod report;
mod run;
pub mod sample;
pub mod stats;
pub mod summary;
pub mod text;
pub mod timed;

pub use run::{run, Done, Options};
