// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks: the stock drivers and ours side by side, and what to make of the numbers.
//!
//! [`jobs`] says what is measured and [`plan`] in which order; [`sample`], [`stats`] and [`summary`]
//! are the numbers; [`text`], [`html`] and [`plot`] show them.

pub mod html;
pub mod jobs;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod report;
pub mod sample;
pub mod stats;
pub mod summary;
pub mod text;
