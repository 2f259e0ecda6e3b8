// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the sysroot with all the shared libraries that they need.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{bail, Context as _, Result};
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, StringTable};

use crate::root::Root;

/// Folders that the dynamic linker looks in.
const LIBRARIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib"];

/// The dynamic linker's name in every program.
const LINKER: &str = "/usr/lib64/ld-linux-x86-64.so.2";

/// Files to put into an image: name there, and the file on the host.
pub(super) type Files = BTreeMap<String, PathBuf>;

/// The programs and, found from their headers, the libraries that they are linked to.
///
/// # Errors
///
/// When a program or library is missing or is not an ELF file of this machine.
pub(super) fn closure(root: &Root, programs: &[&str]) -> Result<Files> {
    let mut files = Files::new();
    let mut todo: Vec<String> = programs.iter().map(|p| (*p).to_owned()).collect();
    while let Some(name) = todo.pop() {
        if files.contains_key(&name) {
            continue;
        }
        let file = root.resolve(&name)?;
        let data = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        files.insert(name.clone(), file);
        // Scripts and data need nothing, nor does hvmloader, which is a 32-bit program of its own.
        if !data.starts_with(b"\x7fELF\x02") {
            continue;
        }
        let needs = needs(&data).with_context(|| format!("reading the headers of {name}"))?;
        for library in needs.libraries {
            todo.push(
                find(root, &library, &needs.folders).with_context(|| format!("{name} needs it"))?,
            );
        }
        if needs.dynamic {
            todo.push(LINKER.to_owned());
        }
    }
    Ok(files)
}

fn find(root: &Root, library: &str, own: &[String]) -> Result<String> {
    if library.starts_with("ld-linux") {
        return Ok(LINKER.to_owned());
    }
    let folders = own.iter().map(String::as_str).chain(LIBRARIES);
    for folder in folders {
        let name = format!("{folder}/{library}");
        if root.resolve(&name).is_ok() {
            return Ok(name);
        }
    }
    bail!("{library} is not in {}", root.path().display());
}

struct Needs {
    libraries: Vec<String>,
    folders: Vec<String>,
    dynamic: bool,
}

fn needs(data: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut needs = Needs {
        libraries: Vec::new(),
        folders: Vec::new(),
        dynamic: header
            .program_headers(endian, data)?
            .iter()
            .any(|segment| segment.p_type(endian) == elf::PT_INTERP),
    };
    let sections = header.sections(endian, data)?;
    let Some((entries, strings)) = sections.dynamic(endian, data)? else {
        return Ok(needs);
    };
    let table = sections.section(strings)?;
    let strings: StringTable<'_> = table.strings(endian, data)?.unwrap_or_default();
    for entry in entries {
        let Ok(text) = entry.string(endian, strings) else {
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match entry.tag32(endian) {
            Some(elf::DT_NEEDED) => needs.libraries.push(text),
            Some(elf::DT_RUNPATH | elf::DT_RPATH) => {
                needs.folders.extend(text.split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(needs)
}
