// SPDX-License-Identifier: MIT OR Apache-2.0
//! What costs minutes to make is kept outside the checkout, named by its inputs.
//!
//! An entry is a folder `KIND-KEY`. It is made as `KIND-KEY.tmp`, flushed, and renamed: what bears
//! the right name is whole. `KIND-KEY.lock` is held while it is made, so a second run waits; who
//! holds the lock knows that a `.tmp` folder is left from a run that died, and removes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{bail, Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::run::Run;
use crate::stop;

/// An entry that no run has used for this long makes room for new ones.
const UNUSED: Duration = Duration::from_secs(60 * 86_400);

/// Free space without which no entry is begun: bytes.
const LEAST_FREE: u64 = 256 << 20;

/// The store of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// What an entry was made from; the key is the SHA-256 of it.
#[derive(Clone, Debug)]
pub struct Inputs {
    text: String,
}

impl Inputs {
    /// The inputs of an entry whose maker is at version `format`: raise it when the maker changes.
    pub fn new(format: u32) -> Self {
        Self {
            text: format!("format {format}\n"),
        }
    }

    /// Adds one named input.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.text
            .push_str(&format!("{name} {}\n", value.replace('\n', " ")));
        self
    }

    /// The start of the SHA-256 of the inputs, in hexadecimal.
    pub fn key(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

impl Cache {
    /// The cache of this user: `$XDG_CACHE_HOME/portico`, or `~/.cache/portico`.
    ///
    /// # Errors
    ///
    /// When neither variable is set or the folder cannot be made.
    pub fn open() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty());
        let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join(".cache"),
            (None, None) => {
                bail!("no place for the cache: set HOME or XDG_CACHE_HOME and run again")
            }
        };
        Self::at(base.join("portico"))
    }

    /// A cache in the folder `root`, which is made when missing.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).with_context(|| {
            format!(
                "making the cache folder {}: set XDG_CACHE_HOME to a folder that can be written",
                root.display()
            )
        })?;
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    /// The folder that holds the entries.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the entry of these inputs is, or would be.
    pub fn path(&self, kind: &str, inputs: &Inputs) -> PathBuf {
        self.root.join(format!("{kind}-{}", inputs.key()))
    }

    /// The entry, when it is there.
    pub fn find(&self, kind: &str, inputs: &Inputs) -> Option<PathBuf> {
        let path = Some(self.path(kind, inputs)).filter(|path| path.is_dir())?;
        // The time of the inputs says when an entry was last used.
        if let Ok(file) = File::options().append(true).open(path.join("inputs")) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(path)
    }

    /// The entry; made by `make` in an empty temporary folder when it is not there.
    ///
    /// # Errors
    ///
    /// Those of `make`; its temporary folder is removed then.
    pub fn entry(
        &self,
        kind: &str,
        inputs: &Inputs,
        progress: &Progress,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(path) = self.find(kind, inputs) {
            return Ok(path);
        }
        let path = self.path(kind, inputs);
        let _lock = Lock::take(&path.with_extension("lock"), kind, progress)?;
        if let Some(path) = self.find(kind, inputs) {
            return Ok(path);
        }
        self.forget_unused();
        let temporary = Temporary::new(path.with_extension("tmp"))?;
        self.room(LEAST_FREE)?;
        fs::write(temporary.0.join("inputs"), &inputs.text)?;
        make(&temporary.0).with_context(|| format!("making {kind} for the cache"))?;
        stop::check()?;
        let folder = File::open(&temporary.0)?;
        rustix::fs::syncfs(&folder).context("flushing the cache to the disk")?;
        fs::rename(&temporary.0, &path)
            .with_context(|| format!("putting {} into its place", path.display()))?;
        temporary.keep();
        Ok(path)
    }

    /// Removes the other entries of this kind.
    pub(crate) fn forget_others(&self, kind: &str, kept: &Path) {
        for path in self.entries() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let same = name.rsplit_once('-').is_some_and(|(k, _)| k == kind);
            if same && path != kept {
                let _ = remove(&path);
            }
        }
    }

    fn forget_unused(&self) {
        for path in self.entries() {
            let used = path
                .join("inputs")
                .metadata()
                .and_then(|data| data.modified());
            let age = used.ok().and_then(|used| used.elapsed().ok());
            if age.is_some_and(|age| age > UNUSED) {
                let _ = remove(&path);
            }
        }
    }

    /// The finished entries.
    fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_none() && path.is_dir())
            .collect()
    }

    /// Bytes free for an ordinary user on the cache's disk.
    ///
    /// # Errors
    ///
    /// When the file system cannot be asked.
    pub fn free(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Makes sure that `needed` bytes are free.
    ///
    /// # Errors
    ///
    /// Says how much is free, how much is needed, and what to do.
    pub fn room(&self, needed: u64) -> Result<()> {
        let free = self.free()?;
        if free < needed {
            bail!(
                "only {} MiB free in {}, {} MiB are needed: free some space, or set \
                 XDG_CACHE_HOME to a folder on a larger disk",
                free >> 20,
                self.root.display(),
                needed >> 20
            );
        }
        Ok(())
    }
}

/// A folder that is removed unless it is kept.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: PathBuf) -> Result<Self> {
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("{error:#}: remove it by hand");
        }
    }
}

/// Removes a folder that may hold files of other users of this user's namespace.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if rustix::process::geteuid().is_root() => {
            return Err(error).with_context(|| format!("removing {}", path.display()));
        }
        Err(_) => {}
    }
    Run::new("unshare", format!("remove {}", path.display()))
        .args(["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"])
        .arg(path)
        .even_when_stopped()
        .run(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("c")).unwrap();
        (dir, cache)
    }

    #[test]
    fn an_entry_is_made_once() {
        let (_dir, cache) = cache();
        let inputs = Inputs::new(1).with("a", "b");
        let mut made = 0;
        for _ in 0..2 {
            let path = cache
                .entry("k", &inputs, &Progress::new(), |tmp| {
                    made += 1;
                    Ok(fs::write(tmp.join("x"), "x")?)
                })
                .unwrap();
            assert!(path.join("x").exists());
        }
        assert_eq!(made, 1);
        assert!(cache.find("k", &Inputs::new(2).with("a", "b")).is_none());
    }

    #[test]
    fn a_failed_or_dead_maker_leaves_nothing_that_is_taken() {
        let (_dir, cache) = cache();
        let inputs = Inputs::new(1);
        let failed = cache.entry("k", &inputs, &Progress::new(), |tmp| {
            fs::write(tmp.join("half"), "x")?;
            bail!("no")
        });
        assert!(failed.is_err() && cache.find("k", &inputs).is_none());
        let left: Vec<_> = fs::read_dir(cache.root())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "tmp"))
            .collect();
        assert!(left.is_empty());

        let stale = cache.path("k", &inputs).with_extension("tmp");
        fs::create_dir_all(&stale).unwrap();
        fs::write(stale.join("stale"), "x").unwrap();
        let path = cache.entry("k", &inputs, &Progress::new(), |_| Ok(()));
        assert!(!path.unwrap().join("stale").exists() && !stale.exists());
    }

    #[test]
    fn too_little_space_is_told_before_work_begins() {
        let (_dir, cache) = cache();
        cache.room(0).unwrap();
        let error = cache.room(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("MiB are needed: free some space, or set XDG_CACHE_HOME"));
    }

    #[test]
    fn what_is_not_used_for_long_makes_room() {
        let (_dir, cache) = cache();
        let make = |name: &str| {
            let inputs = Inputs::new(1).with("name", name);
            cache.entry("k", &inputs, &Progress::new(), |_| Ok(()))
        };
        let (old, used) = (make("old").unwrap(), make("used").unwrap());
        for path in [&old, &used] {
            let file = File::options().append(true).open(path.join("inputs"));
            let past = SystemTime::now() - UNUSED - Duration::from_secs(1);
            file.unwrap().set_modified(past).unwrap();
        }
        make("used").unwrap();
        let new = make("new").unwrap();
        assert!(!old.exists() && used.exists() && new.exists());
        cache.forget_others("k", &new);
        assert!(!used.exists() && new.exists());
    }

    #[test]
    fn the_second_of_two_runs_waits_and_takes_what_the_first_made() {
        let (_dir, cache) = cache();
        let made = std::sync::atomic::AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache.entry("k", &Inputs::new(1), &Progress::new(), |_| {
                        thread::sleep(Duration::from_millis(50));
                        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
