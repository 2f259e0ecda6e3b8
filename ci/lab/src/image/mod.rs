// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that machines boot: the hypervisor, the kernel, and the initramfs of dom0 and of guests, made
//! from the sysroot, the stock kernel, our modules and the agent.
//!
//! What depends only on packages is cached outside the checkout; the initramfs, which hold what is
//! being worked on, lie in the checkout under a name that is a hash of their inputs.

mod closure;
mod cpio;
mod kmods;
mod vmlinux;

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::Inputs;
use crate::context::Context;
use crate::lock::Lock;
use crate::root::Root;
use cpio::Archive;
use kmods::ModuleSet;

/// Raised when the layout of the images changes.
const FORMAT: u32 = 4;

/// Xen's packages name their folder after the version.
const XEN_BIN: &str = "/usr/lib/xen-4.20/bin";

/// The hypervisor in the sysroot.
const XEN: &str = "/boot/xen-4.20-amd64.gz";

/// dom0's programs besides those of [`XEN_BIN`].
const DOM0_PROGRAMS: [&str; 14] = [
    "/usr/libexec/xen-qemu-system-i386",
    "/usr/bin/bash",
    "/usr/bin/busybox",
    "/usr/bin/flock",
    "/usr/bin/readlink",
    "/usr/bin/stat",
    "/usr/bin/xenstore",
    "/usr/bin/zstd",
    "/usr/sbin/ethtool",
    "/usr/sbin/ip",
    "/usr/sbin/losetup",
    "/usr/sbin/blkdiscard",
    "/usr/sbin/e2fsck",
    "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
];

const XEN_PROGRAMS: [&str; 9] = [
    "xl",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xen-init-dom0",
    "libxl-save-helper",
    "lsevtchn",
    "xen-diag",
    "xenctx",
];

/// What QEMU and hvmloader read.
const DOM0_FILES: [&str; 8] = [
    "/usr/lib/xen-4.20/boot/hvmloader",
    "/usr/share/seabios/bios.bin",
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/seabios/vgabios-stdvga.bin",
    "/usr/share/seabios/vgabios-cirrus.bin",
    "/usr/share/qemu/kvmvapic.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
    "/etc/xen/xl.conf",
];

const DOM0_MODULES: [&str; 16] = [
    "xen-evtchn",
    "xen-privcmd",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
    "xen-blkback",
    "xen-netback",
    "bridge",
    "virtio_blk",
    "loop",
    "brd",
    "null_blk",
    "scsi_debug",
    "tun",
    "veth",
    "ext4",
];

const GUEST_PROGRAMS: [&str; 9] = [
    "/usr/bin/busybox",
    "/usr/bin/fio",
    "/usr/sbin/ethtool",
    "/usr/sbin/ip",
    "/usr/sbin/mke2fs",
    "/usr/sbin/e2fsck",
    "/usr/sbin/blkdiscard",
    "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "/etc/mke2fs.conf",
];

const GUEST_MODULES: [&str; 4] = ["xen-blkfront", "xen-netfront", "netconsole", "ext4"];

/// Links of every system.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("usr/bin/sh", "busybox"),
];

/// Folders of every system.
const FOLDERS: [&str; 10] = [
    "dev", "proc", "sys", "tmp", "run", "root", "etc", "mnt", "var/log", "var/lib",
];

/// Paths of what a machine boots, on the host.
#[derive(Clone, Debug)]
pub struct Images {
    /// Folder that holds all of it but `vmlinux`.
    pub folder: PathBuf,
    /// The hypervisor.
    pub xen: PathBuf,
    /// dom0's kernel, an ELF file.
    pub vmlinux: PathBuf,
    /// dom0's initramfs, which holds the guests' kernel and initramfs.
    pub dom0: PathBuf,
    /// The guests' initramfs alone.
    pub guest: PathBuf,
}

/// Size and time of a file, as an input of a cache entry.
pub(crate) fn stamp(path: &Path) -> Result<String> {
    let data = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(format!(
        "{} {} {}.{}",
        path.display(),
        data.len(),
        data.mtime(),
        data.mtime_nsec()
    ))
}

/// The images of a context; what has not changed is taken from the last time.
///
/// # Errors
///
/// When the sysroot lacks a part, or the disk is full.
pub fn images(ctx: &Context) -> Result<Images> {
    let host = &ctx.host;
    let (root, progress) = (&ctx.lab_root, &host.progress);
    let vmlinux = vmlinux::unpacked(&ctx.kernel.image, root, &host.cache, progress)?;
    let mut inputs = Inputs::new(FORMAT)
        .with("root", &root.path().display().to_string())
        .with("xen", &stamp(&root.host_path(XEN))?)
        .with("kernel", &stamp(&ctx.kernel.image)?);
    for file in [&ctx.agent, &ctx.hostile_blkback, &ctx.hostile_netback]
        .into_iter()
        .chain(&ctx.modules)
    {
        inputs = inputs.with("file", &stamp(file)?);
    }
    let work = ctx.work();
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let _lock = Lock::take(&work.join("images.lock"), "the images", progress)?;
    let folder = work.join(format!("images-{}", inputs.key()));
    if !folder.is_dir() {
        let step = progress.step("making the images");
        forget_others(&work, &folder);
        let half = tempfile::tempdir_in(&work)?;
        make(ctx, &vmlinux, half.path())?;
        fs::rename(half.keep(), &folder)?;
        step.done("");
    }
    Ok(Images {
        xen: folder.join("xen"),
        dom0: folder.join("dom0.cpio"),
        guest: folder.join("guest.cpio"),
        vmlinux,
        folder,
    })
}

/// Removes older images, but not those that another run may be booting at the moment.
fn forget_others(work: &Path, kept: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_images = entry.file_name().to_string_lossy().starts_with("images-");
        let old = entry
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 4 * 3600));
        if is_images && path.is_dir() && old && path != kept {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn make(ctx: &Context, vmlinux: &Path, folder: &Path) -> Result<()> {
    let root = &ctx.lab_root;
    root.bind(folder, "/work")
        .enter("sh", "unpack the hypervisor")
        .args(["-c", &format!("zcat {XEN} > /work/xen")])
        .output()?;
    let guest = folder.join("guest.cpio");
    make_guest(ctx, &guest)?;
    make_dom0(ctx, vmlinux, &guest, &folder.join("dom0.cpio"))
}

fn make_guest(ctx: &Context, path: &Path) -> Result<()> {
    let mut archive = begin(ctx, path)?;
    add_programs(&mut archive, &ctx.lab_root, &GUEST_PROGRAMS)?;
    let mut modules = stock_modules(ctx, &GUEST_MODULES)?;
    modules.add_ours(&ctx.modules)?;
    add_modules(&mut archive, &ctx.kernel.release, &modules)?;
    archive.finish()?;
    Ok(())
}

fn make_dom0(ctx: &Context, vmlinux: &Path, guest: &Path, path: &Path) -> Result<()> {
    let root = &ctx.lab_root;
    let mut archive = begin(ctx, path)?;
    let xen = XEN_PROGRAMS.map(|name| format!("{XEN_BIN}/{name}"));
    let mut programs: Vec<&str> = xen.iter().map(String::as_str).collect();
    programs.extend(DOM0_PROGRAMS);
    programs.extend(DOM0_FILES);
    add_programs(&mut archive, root, &programs)?;
    for tool in [
        "read", "write", "ls", "list", "rm", "watch", "exists", "chmod",
    ] {
        archive.link(&format!("usr/bin/xenstore-{tool}"), "xenstore")?;
    }
    add_folder(&mut archive, root, "/etc/xen/scripts")?;
    add_folder(&mut archive, root, "/usr/share/qemu/keymaps")?;
    for (name, file) in [
        ("usr/bin/hostile-blkback", &ctx.hostile_blkback),
        ("usr/bin/hostile-netback", &ctx.hostile_netback),
    ] {
        add(&mut archive, name, file)?;
    }
    let modules = stock_modules(ctx, &DOM0_MODULES)?;
    add_modules(&mut archive, &ctx.kernel.release, &modules)?;
    add(&mut archive, "guest/vmlinux", vmlinux)?;
    add(&mut archive, "guest/bzImage", &ctx.kernel.image)?;
    add(&mut archive, "guest/initramfs", guest)?;
    archive.finish()?;
    Ok(())
}

/// Makes a disk image with an ext4 file system that a guest can run from: the programs of its
/// initramfs, and the agent as `/sbin/portico-agent`.
///
/// # Errors
///
/// When the sysroot lacks a part, or the disk is full.
pub fn root_disk(ctx: &Context, path: &Path, mib: u32) -> Result<()> {
    let root = &ctx.lab_root;
    let tree = tempfile::tempdir_in(ctx.work())?;
    let put = |name: &str, file: &Path| -> Result<()> {
        let to = tree.path().join(name.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(file, &to).with_context(|| format!("copying {}", file.display()))?;
        Ok(())
    };
    for (name, file) in closure::closure(root, &GUEST_PROGRAMS)? {
        put(&name, &file)?;
    }
    put("/usr/sbin/portico-agent", &ctx.agent)?;
    for (link, target) in LINKS {
        std::os::unix::fs::symlink(target, tree.path().join(link))?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(tree.path().join(folder))?;
    }
    let size = u64::from(mib) << 20;
    File::create(path)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("writing {}", path.display()))?;
    root.bind(tree.path(), "/build")
        .bind(path.parent().unwrap_or(path), "/work")
        .enter("mke2fs", "make the root file system")
        .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", "/build"])
        .arg(format!(
            "/work/{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        ))
        .output()?;
    Ok(())
}

fn stock_modules(ctx: &Context, names: &[&str]) -> Result<ModuleSet> {
    let host = &ctx.host;
    kmods::stock(
        &ctx.kernel,
        names,
        &ctx.lab_root,
        &host.cache,
        &host.progress,
    )
}

type Output = Archive<BufWriter<File>>;

/// Begins an initramfs with the folders, links and programs that both roles have.
fn begin(ctx: &Context, path: &Path) -> Result<Output> {
    let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for (link, target) in LINKS {
        archive.link(link, target)?;
    }
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    archive.link("var/run", "../run")?;
    archive.link("var/lock", "../run/lock")?;
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    add(&mut archive, "init", &ctx.agent)?;
    Ok(archive)
}

fn add_programs(archive: &mut Output, root: &Root, programs: &[&str]) -> Result<()> {
    for (name, file) in closure::closure(root, programs)? {
        add(archive, &name, &file)?;
    }
    Ok(())
}

/// The files of a folder, without those of folders in it.
fn add_folder(archive: &mut Output, root: &Root, name: &str) -> Result<()> {
    let folder = root.resolve(name)?;
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = entry?.path();
        if file.is_file() {
            let own = file.file_name().unwrap_or_default().to_string_lossy();
            add(archive, &format!("{name}/{own}"), &file)?;
        }
    }
    Ok(())
}

fn add_modules(archive: &mut Output, release: &str, modules: &ModuleSet) -> Result<()> {
    let base = format!("usr/lib/modules/{release}");
    for (name, file) in &modules.files {
        add(archive, &format!("{base}/{name}"), file)?;
    }
    let dependencies = modules.dependencies();
    archive.file(
        &format!("{base}/modules.dep"),
        0o644,
        dependencies.as_bytes(),
    )?;
    Ok(())
}

fn add(archive: &mut Output, name: &str, file: &Path) -> Result<()> {
    let what = || format!("putting {} into an image", file.display());
    let data = fs::read(file).with_context(what)?;
    let permissions = fs::metadata(file).with_context(what)?.permissions().mode();
    archive.file(name, permissions, &data).with_context(what)
}
