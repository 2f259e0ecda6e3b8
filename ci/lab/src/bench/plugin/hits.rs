// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plugin for QEMU (`qemu-plugin.h`, "TCG Plugins" in QEMU's manual): counts the instructions that are
//! executed at each address, in blocks as the emulator translates them.
//!
//! It is compiled by itself, not as a part of the crate. Whoever wants the counts so far makes the file
//! `NAME.take` beside the plugin, `NAME` being the plugin's argument `out=NAME`; the plugin then writes
//! `NAME` with a line `ADDRESS COUNT` for each block (hexadecimal and decimal) and removes `NAME.take`.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Blocks that can be told apart; those beyond are not counted, which the file says.
const SLOTS: usize = 1 << 20;

/// The emulator's accumulator for a value of eight bytes per processor.
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    score: *mut c_void,
    offset: usize,
}

extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, cb: extern "C" fn(u64, *mut c_void));
    fn qemu_plugin_tb_n_insns(tb: *const c_void) -> usize;
    fn qemu_plugin_tb_vaddr(tb: *const c_void) -> u64;
    fn qemu_plugin_tb_get_insn(tb: *const c_void, at: usize) -> *mut c_void;
    fn qemu_plugin_insn_haddr(insn: *const c_void) -> *mut c_void;
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut c_void;
    fn qemu_plugin_u64_sum(entry: Entry) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        tb: *mut c_void,
        op: c_int,
        entry: Entry,
        value: u64,
    );
}

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;

/// The version of the interface that this is written for.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = 4;

struct State {
    /// Address and, as two systems may have different code at the same address, place in memory.
    slots: HashMap<(u64, usize), usize>,
    lost: u64,
}

/// The scoreboard, as a number because pointers cannot be shared between threads.
static SCORE: OnceLock<usize> = OnceLock::new();
static STATE: Mutex<Option<State>> = Mutex::new(None);

fn entry(slot: usize) -> Entry {
    Entry {
        score: SCORE
            .get()
            .map_or(std::ptr::null_mut(), |at| *at as *mut c_void),
        offset: slot * 8,
    }
}

extern "C" fn translated(_id: u64, tb: *mut c_void) {
    let Ok(mut guard) = STATE.lock() else { return };
    let Some(state) = guard.as_mut() else { return };
    // SAFETY: the emulator calls this with a block that is valid during the call, and a block has at
    // least one instruction.
    let (address, place, count) = unsafe {
        let first = qemu_plugin_tb_get_insn(tb, 0);
        (
            qemu_plugin_tb_vaddr(tb),
            qemu_plugin_insn_haddr(first) as usize,
            qemu_plugin_tb_n_insns(tb),
        )
    };
    let next = state.slots.len();
    let slot = match state.slots.get(&(address, place)) {
        Some(slot) => *slot,
        None if next < SLOTS => {
            state.slots.insert((address, place), next);
            next
        }
        None => {
            state.lost += 1;
            return;
        }
    };
    // SAFETY: the block is valid, and the slot is within the scoreboard's elements.
    unsafe {
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, ADD, entry(slot), count as u64)
    };
}

fn take() -> String {
    let mut out = String::new();
    let Ok(guard) = STATE.lock() else { return out };
    let Some(state) = guard.as_ref() else {
        return out;
    };
    for ((address, _), slot) in &state.slots {
        // SAFETY: the slot is within the scoreboard's elements, which live as long as the emulator.
        let count = unsafe { qemu_plugin_u64_sum(entry(*slot)) };
        if count > 0 {
            let _ = writeln!(out, "{address:016x} {count}");
        }
    }
    if state.lost > 0 {
        let _ = writeln!(out, "lost {}", state.lost);
    }
    out
}

fn serve(name: &str) -> ! {
    let wish = format!("{name}.take");
    loop {
        std::thread::sleep(Duration::from_millis(50));
        if std::path::Path::new(&wish).exists() {
            let half = format!("{name}.half");
            let done = std::fs::write(&half, take()).and_then(|()| std::fs::rename(&half, name));
            if let Err(error) = done {
                eprintln!("hits: {name}: {error}");
            }
            let _ = std::fs::remove_file(&wish);
        }
    }
}

/// The emulator calls this when it has loaded the plugin.
#[no_mangle]
pub extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let mut name = None;
    for at in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: the emulator passes `argc` strings that live during the call.
        let word = unsafe { CStr::from_ptr(*argv.add(at)) }.to_string_lossy();
        name = word.strip_prefix("out=").map(str::to_owned).or(name);
    }
    let Some(name) = name else {
        eprintln!("hits: the argument out=NAME is missing");
        return 1;
    };
    // SAFETY: takes a size in bytes for each processor.
    let score = unsafe { qemu_plugin_scoreboard_new(SLOTS * 8) };
    if SCORE.set(score as usize).is_err() {
        return 1;
    }
    if let Ok(mut state) = STATE.lock() {
        *state = Some(State {
            slots: HashMap::new(),
            lost: 0,
        });
    }
    // SAFETY: `id` is ours, and the function lives as long as the plugin.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    std::thread::spawn(move || serve(&name));
    0
}
