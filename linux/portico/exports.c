// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exports what the Rust crates inside portico.ko define, so that the driver
 * modules can link against it. GPL-only: the kernel's own Rust symbols are.
 */
#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
