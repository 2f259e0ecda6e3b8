// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own tests of network drivers (`tools/testing/selftests/drivers/net`), as they are in the
//! distribution's source package, on a disk image with all that they call. Guest and dom0 mount the same
//! image, read-only, and work in it: the guest runs the tests, dom0 is the endpoint that they reach by
//! `ssh`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::{self, Inputs};
use crate::context::{Context, Host};
use crate::metadata::{jobs, source};
use crate::mirror::Mirror;
use crate::root::Root;
use crate::sysroot::{self, Kind};

/// Raised when the way the image is made changes what is in it.
const FORMAT: u32 = 1;

/// Bytes that making the image takes.
const ROOM: u64 = 3 << 30;

/// Where the tests are on the image.
pub const FOLDER: &str = "/selftests";

/// Runs in the sysroot of the tests; `$1` is the kernel's series, `$2` the number of jobs. Builds the
/// tests, and the keys with which the guest reaches dom0.
const BUILD: &str = r#"
set -e
cd /work
mkdir source
src=linux-source-$1
dpkg-deb --fsys-tarfile source.deb | tar xO "./usr/src/$src.tar.xz" |
    tar xJ -C source --strip-components=1 "$src/Makefile" "$src/Kbuild" "$src/MAINTAINERS" "$src/arch/x86" \
    "$src/include" "$src/scripts" "$src/tools" "$src/usr" "$src/Documentation/netlink"
make -C source -j"$2" ARCH=x86 headers
make -C source/tools/testing/selftests -j"$2" TARGETS="drivers/net drivers/net/hw" FORCE_TARGETS=1 \
    INSTALL_PATH=/work/selftests install
python3 -m compileall -q selftests
ssh-keygen -q -t ed25519 -N '' -C guest -f guest-key
ssh-keygen -q -t ed25519 -N '' -C dom0 -f host-key
"#;

/// Runs in the lab's sysroot, with that of the tests at `/build`: puts the image together. Compilers stay
/// behind.
const PACK: &str = r#"
set -e
cd /work
mkdir tree
tar c -C /build --one-file-system --exclude='./usr/lib/llvm-*' --exclude='./usr/lib*/gcc' \
    --exclude='./usr/include' --exclude='*.a' --exclude='libclang*' . | tar x -C tree
mv selftests tree/selftests
mkdir -p tree/root/.ssh
mv guest-key tree/root/.ssh/id_ed25519
mv guest-key.pub tree/root/.ssh/authorized_keys
mv host-key tree/etc/ssh/ssh_host_ed25519_key
rm -f tree/etc/ssh/ssh_host_rsa_key* tree/etc/ssh/ssh_host_ecdsa_key*
cat > tree/etc/ssh/ssh_config <<END
Host *
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ControlPath /run/ssh-%h
END
cat > tree/etc/ssh/sshd_config <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin yes
StrictModes no
UsePAM no
MaxSessions 100
Subsystem sftp internal-sftp
END
chmod 700 tree/root/.ssh
chmod 600 tree/etc/ssh/ssh_host_ed25519_key tree/root/.ssh/id_ed25519
size=$(du -sm tree | cut -f1)
mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d tree image "$((size + size / 5 + 32))M"
"#;

/// The image, made when it is not in the cache.
///
/// # Errors
///
/// When a package cannot be had or the tests do not build.
pub fn image(ctx: &Context) -> Result<PathBuf> {
    let host = &ctx.host;
    let release = &ctx.kernel.release;
    let root = sysroot::get(host, Kind::Selftests, release, || Mirror::open(host))?;
    let inputs = Inputs::new(FORMAT)
        .with("kernel", release)
        .with("root", &root.path().display().to_string())
        .with("build", BUILD)
        .with("pack", PACK);
    let folder = host
        .cache
        .entry("selftests", &inputs, &host.progress, |folder| {
            make(host, &root, &ctx.lab_root, release, folder)
        })?;
    Ok(folder.join("image"))
}

fn make(host: &Host, root: &Root, lab_root: &Root, release: &str, folder: &Path) -> Result<()> {
    host.cache.room(ROOM)?;
    let step = host
        .progress
        .step(format!("building the tests of kernel {release}"));
    let work = folder.join("work");
    step.note("downloading the kernel's source");
    let series = source(host, &Mirror::open(host)?, release, &work)?;
    root.bind(&work, "/work")
        .enter("sh", "build the kernel's tests")
        .args(["-c", BUILD, "build", &series])
        .arg(jobs().to_string())
        .log(host.log("selftests"))
        .run(Some(&step))?;
    step.note("making the image");
    lab_root
        .bind(root.path(), "/build")
        .bind(&work, "/work")
        .enter("sh", "make the image of the tests")
        .args(["-c", PACK])
        .log(host.log("selftests-image"))
        .run(Some(&step))?;
    fs::rename(work.join("image"), folder.join("image"))?;
    cache::remove(&work)?;
    step.done("");
    Ok(())
}
