// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Rust metadata of a stock kernel.
//!
//! The distribution's headers lack what a Rust module is compiled against (`rust/*.rmeta`, the
//! procedural macros, `scripts/target.json`). It is rebuilt from the distribution's source with
//! the kernel's own configuration and compiler, and taken only if every exported Rust symbol comes
//! out with the name that the shipped kernel has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};

use crate::cache::Inputs;
use crate::context::Host;
use crate::mirror::Mirror;
use crate::root::Root;

/// Bytes that the kernel's source and the build take while metadata is made.
const ROOM: u64 = 3 << 30;

/// Raised when the way metadata is made changes.
const FORMAT: u32 = 1;

/// Crates whose metadata modules are compiled against.
const CRATES: &[&str] = &[
    "core",
    "compiler_builtins",
    "ffi",
    "pin_init",
    "build_error",
    "bindings",
    "uapi",
    "kernel",
    "zerocopy",
];

/// Procedural macros.
const MACROS: &[&str] = &["macros", "pin_init_internal", "zerocopy_derive"];

/// Runs in the build sysroot; `$1` is the release, `$2` its series, `$3` the number of jobs. The
/// folder is always the same, as paths go into symbol-bearing metadata and panic locations.
const REBUILD: &str = r#"
set -e
cd /usr/src/portico
dpkg-deb -x source.deb deb
tar xf "deb/usr/src/linux-source-$2.tar.xz"
rm -r deb source.deb
mkdir build
cp "/usr/src/linux-headers-$1/.config" "/usr/src/linux-headers-$1/Module.symvers" build/
make -C "linux-source-$2" O=/usr/src/portico/build ARCH=x86 KERNELRELEASE="$1" \
    CROSS_COMPILE=x86_64-linux-gnu- CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 -j"$3" modules_prepare
strip build/rust/*.so
"#;

/// The kernel's Rust metadata: a cache entry with `rust/`, `target.json` and the list of exported
/// symbols.
#[derive(Clone, Debug)]
pub struct Metadata {
    folder: PathBuf,
}

impl Metadata {
    /// The metadata; rebuilt when it is not in the cache.
    ///
    /// # Errors
    ///
    /// When the source cannot be had, the build fails, or its symbols differ from the kernel's.
    pub fn get(
        host: &Host,
        build_root: &Root,
        release: &str,
        mirror: impl FnOnce() -> Result<Mirror>,
    ) -> Result<Self> {
        let rustc = build_root
            .enter("rustc", "ask for the compiler's version")
            .arg("--version")
            .output()?;
        let inputs = Inputs::new(FORMAT)
            .with("kernel", release)
            .with("rustc", rustc.trim())
            .with("script", REBUILD);
        let folder = host
            .cache
            .entry("rust-metadata", &inputs, &host.progress, |folder| {
                make(host, build_root, release, &mirror()?, folder)
            })?;
        Ok(Self { folder })
    }

    /// The build sysroot with the metadata laid over the kernel's headers.
    pub fn over(&self, build_root: &Root, release: &str) -> Root {
        let headers = format!("/usr/src/linux-headers-{release}");
        build_root
            .bind(self.folder.join("rust"), &format!("{headers}/rust"))
            .bind(
                self.folder.join("target.json"),
                &format!("{headers}/scripts/target.json"),
            )
    }

    /// The Rust symbols that the rebuilt kernel crates export.
    ///
    /// # Errors
    ///
    /// When the entry cannot be read.
    pub fn exported(&self) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(self.folder.join("exported"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn make(host: &Host, root: &Root, release: &str, mirror: &Mirror, folder: &Path) -> Result<()> {
    host.cache.room(ROOM)?;
    let step = host
        .progress
        .step(format!("rebuilding the Rust metadata of kernel {release}"));
    let work = folder.join("work");
    step.note("downloading the kernel's source");
    let series = source(host, mirror, release, &work)?;
    root.bind(&work, "/usr/src/portico")
        .enter("sh", "rebuild the kernel's Rust metadata")
        .args(["-c", REBUILD, "rebuild", release, &series])
        .arg(jobs().to_string())
        .log(host.log("rust-metadata"))
        .run(Some(&step))?;

    let built = work.join("build");
    let exported = exported(&built.join("rust"))?;
    let symvers = format!("usr/src/linux-headers-{release}/Module.symvers");
    let shipped = shipped(&root.host_path(&symvers))?;
    compare(&exported, &shipped)?;
    fs::create_dir(folder.join("rust"))?;
    let files = CRATES
        .iter()
        .map(|name| format!("lib{name}.rmeta"))
        .chain(MACROS.iter().map(|name| format!("lib{name}.so")));
    for file in files {
        let from = built.join("rust").join(&file);
        // A series may lack a crate that a later one has.
        if from.exists() {
            fs::rename(&from, folder.join("rust").join(&file))?;
        }
    }
    fs::rename(
        built.join("scripts/target.json"),
        folder.join("target.json"),
    )?;
    let list: Vec<&str> = exported.iter().map(String::as_str).collect();
    fs::write(folder.join("exported"), list.join("\n"))?;
    fs::remove_dir_all(&work)?;
    step.done(format!(
        "{} exported symbols, all as the shipped kernel has them",
        exported.len()
    ));
    Ok(())
}

/// Downloads the package with the kernel's source to `source.deb` in the folder `work`. Returns the series,
/// which is in the name of the archive inside.
pub(crate) fn source(host: &Host, mirror: &Mirror, release: &str, work: &Path) -> Result<String> {
    let headers = format!("linux-headers-{release}");
    let version = mirror
        .version(&headers)?
        .with_context(|| format!("the mirror does not have {headers} any more"))?;
    let series = series(release)?;
    let package = format!("linux-source-{series}");
    let source = mirror.download(&package, &version, work, host.log("linux-source"))?;
    fs::rename(source, work.join("source.deb"))?;
    Ok(series)
}

/// `7.3` of `7.3.4+deb13-amd64`.
fn series(release: &str) -> Result<String> {
    let mut parts = release.split('.');
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => bail!("{release} is no kernel release"),
    }
}

/// Parallel jobs for make.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Mangled Rust symbols, whose names carry hashes, and the helpers that wrap C's inline functions.
fn is_rust(symbol: &str) -> bool {
    symbol.starts_with("_R") || symbol.starts_with("rust_helper_")
}

/// Symbols that a rebuilt `rust/` folder exports.
fn exported(rust: &Path) -> Result<BTreeSet<String>> {
    let mut symbols = BTreeSet::new();
    for entry in fs::read_dir(rust)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !(name.starts_with("exports_") && name.ends_with("_generated.h")) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        symbols.extend(text.lines().filter_map(|line| {
            let (_, rest) = line.split_once('(')?;
            let symbol = rest.split_once(')')?.0;
            is_rust(symbol).then(|| symbol.to_owned())
        }));
    }
    Ok(symbols)
}

/// Rust symbols that the shipped kernel exports, from its `Module.symvers`.
///
/// # Errors
///
/// When the file cannot be read.
pub fn shipped(symvers: &Path) -> Result<BTreeSet<String>> {
    let text =
        fs::read_to_string(symvers).with_context(|| format!("reading {}", symvers.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').skip(1);
            let symbol = fields.next()?;
            let owner = fields.next()?;
            (is_rust(symbol) && owner == "vmlinux").then(|| symbol.to_owned())
        })
        .collect())
}

/// Fails when the two sets of symbols differ.
///
/// # Errors
///
/// Says how many symbols differ and names some.
pub fn compare(rebuilt: &BTreeSet<String>, shipped: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<&String> = shipped.difference(rebuilt).collect();
    let extra: Vec<&String> = rebuilt.difference(shipped).collect();
    if missing.is_empty() && extra.is_empty() {
        ensure!(
            !shipped.is_empty(),
            "the shipped kernel exports no Rust symbol"
        );
        return Ok(());
    }
    let some = |set: &[&String]| {
        set.iter()
            .take(3)
            .map(|s| format!("\n    {s}"))
            .collect::<String>()
    };
    bail!(
        "the rebuilt Rust metadata does not fit the shipped kernel, so its modules would not \
         load: {} of its {} symbols are missing{}\n{} are new{}\nis rustc in the build sysroot \
         the release's own?",
        missing.len(),
        shipped.len(),
        some(&missing),
        extra.len(),
        some(&extra)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn symbols_are_read_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("exports_core_generated.h"),
            "EXPORT_SYMBOL_RUST_GPL(_RA);\nEXPORT_SYMBOL_RUST_GPL(rust_helper_b);\n\
             EXPORT_SYMBOL_RUST_GPL(rust_begin_unwind);\n",
        )
        .unwrap();
        let symvers = dir.path().join("Module.symvers");
        fs::write(
            &symvers,
            "0x0\t_RA\tvmlinux\tEXPORT_SYMBOL_GPL\t\n0x0\trust_helper_b\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
             0x0\t_RX\tdrivers/x\tEXPORT_SYMBOL_GPL\t\n0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
        )
        .unwrap();
        let rebuilt = exported(dir.path()).unwrap();
        let shipped = shipped(&symvers).unwrap();
        assert_eq!(rebuilt, set(&["_RA", "rust_helper_b"]));
        compare(&rebuilt, &shipped).unwrap();
        let error = compare(&set(&["_RA", "_RC"]), &shipped)
            .unwrap_err()
            .to_string();
        assert!(error.contains("1 of its 2 symbols are missing\n    rust_helper_b"));
        assert!(error.contains("1 are new\n    _RC"));
        assert!(compare(&set(&[]), &set(&[])).is_err());
    }

    #[test]
    fn the_series_names_the_source_package() {
        assert_eq!(series("7.3.4+deb13-amd64").unwrap(), "7.3");
        assert!(series("7").is_err());
    }
}
