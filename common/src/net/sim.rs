// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets, buffers and a back end over the simulated machine.
