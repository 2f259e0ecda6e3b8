// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts over the Linux modules, without booting them.

use portico_lab::checks::{panics, sizes, source, symbols};
use portico_lab::modules::Mode;
use portico_lab::part::Tally;

use super::Part;

pub(super) fn parts() -> Vec<Part> {
    vec![
        Part::new(
            "linux/symbols",
            "Rust symbols are the shipped kernel's",
            |world| {
                let compared = symbols::same_as_shipped(world.toolchain()?)?;
                Ok(Tally::one(format!("{compared} symbols")))
            },
        ),
        Part::new("linux/build", "the modules build", |world| {
            let (_, modules) = world.modules()?;
            Ok(Tally::one(format!("{} modules", modules.files.len())))
        }),
        Part::new("linux/fit", "the modules fit the kernel", |world| {
            let (toolchain, modules) = world.modules()?;
            let read = symbols::modules_fit(modules, &toolchain.release)?;
            Ok(Tally::one(format!("{read} modules")))
        }),
        Part::new(
            "linux/sizes",
            "bound types have the kernel's sizes",
            |world| {
                let (toolchain, modules) = world.modules()?;
                let compared = sizes::same_as_kernel(&toolchain, modules)?;
                Ok(Tally::one(format!("{compared} types")))
            },
        ),
        Part::new("linux/unsafe", "no unsafe in drivers", |world| {
            let checkout = world.host.checkout.clone();
            let (_, modules) = world.modules()?;
            let read = source::no_unsafe_in_drivers(&checkout, &modules.stage)?;
            Ok(Tally::one(format!("{read} files")))
        }),
        Part::new("linux/panics", "no code of ours can panic", |world| {
            let (_, modules) = world.modules()?;
            let read = panics::none(&modules.stage)?;
            Ok(Tally::one(format!("{read} objects")))
        }),
        Part::new("linux/clippy", "clippy over the modules", |world| {
            let toolchain = world.toolchain()?.clone();
            toolchain.modules(&world.host, Mode::Clippy)?;
            Ok(Tally::one(""))
        }),
    ]
}
