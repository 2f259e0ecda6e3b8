// SPDX-License-Identifier: MIT OR Apache-2.0
//! The package mirrors that this system is set up to use.
//!
//! No mirror is named here: URIs and keys come from the system's apt configuration, in both of its
//! formats. The host may run another release than the sysroots, as one archive serves all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

/// The release that the sysroots are made of.
pub const SUITE: &str = "trixie";

/// Suites by which the distribution's main archive is known in a configuration.
const MAIN_SUITES: &[&str] = &[
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// One archive that may hold [`SUITE`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Archive {
    uri: String,
    keys: Keys,
}

/// Where the archive's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Keys {
    /// In apt's own trusted set.
    Trusted,
    /// In this file (or with this fingerprint), as apt's `signed-by` takes it.
    SignedBy(String),
    /// In the configuration itself, armoured.
    Inline(String),
}

impl Archive {
    /// The one-line sources of [`SUITE`] and its backports in this archive. An armoured key is
    /// written to `keyring` first.
    ///
    /// # Errors
    ///
    /// When the key cannot be written.
    pub fn sources(&self, keyring: &Path) -> Result<String> {
        let signed_by = match &self.keys {
            Keys::Trusted => String::new(),
            Keys::SignedBy(path) => format!("[signed-by={path}] "),
            Keys::Inline(key) => {
                fs::write(keyring, key)
                    .with_context(|| format!("writing {}", keyring.display()))?;
                format!("[signed-by={}] ", keyring.display())
            }
        };
        let uri = &self.uri;
        Ok(format!(
            "deb {signed_by}{uri} {SUITE} main\ndeb {signed_by}{uri} {SUITE}-backports main\n"
        ))
    }

    /// The archive's address.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

/// The archives of the system's configuration below `etc` (`/etc/apt`), in its order.
///
/// # Errors
///
/// When none is set up.
pub fn archives(etc: &Path) -> Result<Vec<Archive>> {
    let mut found: Vec<Archive> = Vec::new();
    for file in files(etc) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let deb822 = file.extension().is_some_and(|e| e == "sources");
        let entries = if deb822 {
            deb822_entries(&text)
        } else {
            line_entries(&text)
        };
        for archive in entries {
            if !found.iter().any(|a| a.uri == archive.uri) {
                found.push(archive);
            }
        }
    }
    if found.is_empty() {
        bail!(
            "no Debian mirror in {}: add a `main` entry of any Debian release there \
             (sources.list(5)) and run again",
            etc.display()
        );
    }
    Ok(found)
}

fn files(etc: &Path) -> Vec<PathBuf> {
    let mut files = vec![etc.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "list" || e == "sources")
        })
        .collect();
    parts.sort();
    files.extend(parts);
    files
}

fn is_main<'a>(
    mut suites: impl Iterator<Item = &'a str>,
    mut components: impl Iterator<Item = &'a str>,
) -> bool {
    suites.any(|s| MAIN_SUITES.contains(&s)) && components.any(|c| c == "main")
}

/// `deb [options] URI SUITE COMPONENT…` lines.
fn line_entries(text: &str) -> Vec<Archive> {
    text.lines().filter_map(line_entry).collect()
}

fn line_entry(line: &str) -> Option<Archive> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    rest = rest.trim_start();
    let mut keys = Keys::Trusted;
    if let Some(after) = rest.strip_prefix('[') {
        let (options, after) = after.split_once(']')?;
        if let Some(path) = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
        {
            keys = Keys::SignedBy(path.to_owned());
        }
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?.to_owned();
    let suite = words.next()?;
    is_main([suite].into_iter(), words).then_some(Archive { uri, keys })
}

/// Paragraphs of `Field: value`, with continuation lines.
fn deb822_entries(text: &str) -> Vec<Archive> {
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    text.split(|line| line.trim().is_empty())
        .flat_map(deb822_entry)
        .collect()
}

fn deb822_entry(lines: &[&str]) -> Vec<Archive> {
    let field = |name: &str| -> Option<String> {
        let at = lines.iter().position(|line| {
            line.split_once(':')
                .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
        })?;
        let first = lines[at].split_once(':')?.1.trim().to_owned();
        let more = lines[at + 1..]
            .iter()
            .take_while(|line| line.starts_with([' ', '\t']))
            .map(|line| line.trim())
            .map(|line| if line == "." { "" } else { line });
        Some(
            std::iter::once(first.as_str())
                .chain(more)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let words = |name: &str| field(name).unwrap_or_default();
    let (types, uris) = (words("Types"), words("URIs"));
    let (suites, components) = (words("Suites"), words("Components"));
    let enabled = !matches!(field("Enabled").as_deref(), Some("no" | "false" | "0"));
    if !enabled
        || !types.split_whitespace().any(|t| t == "deb")
        || !is_main(suites.split_whitespace(), components.split_whitespace())
    {
        return Vec::new();
    }
    let keys = match field("Signed-By") {
        None => Keys::Trusted,
        Some(key) if key.contains("-----BEGIN") => Keys::Inline(key.trim().to_owned() + "\n"),
        Some(path) => Keys::SignedBy(path.split_whitespace().collect::<Vec<_>>().join(",")),
    };
    uris.split_whitespace()
        .map(|uri| Archive {
            uri: uri.to_owned(),
            keys: keys.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
# comment
Types: deb deb-src
URIs: http://one.example/debian
 http://two.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
";

    #[test]
    fn both_formats_give_main_archives_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        fs::write(
            dir.path().join("sources.list"),
            "# deb http://no.example/ trixie main\n\
             deb-src http://no.example/ trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] mirror+file:/etc/m trixie main # x\n\
             deb http://other.example/ubuntu noble main\n\
             deb http://plain.example/debian stable contrib\n",
        )
        .unwrap();
        fs::write(dir.path().join("sources.list.d/a.sources"), DEB822).unwrap();
        fs::write(dir.path().join("sources.list.d/b.disabled"), DEB822).unwrap();
        let found = archives(dir.path()).unwrap();
        let uris: Vec<&str> = found.iter().map(Archive::uri).collect();
        assert_eq!(
            uris,
            [
                "mirror+file:/etc/m",
                "http://one.example/debian",
                "http://two.example/debian"
            ]
        );
        assert!(found[1].sources(Path::new("/unused")).unwrap().starts_with(
            "deb [signed-by=/usr/share/keyrings/k.gpg] http://one.example/debian trixie main\n"
        ));
    }

    #[test]
    fn a_key_in_the_configuration_is_written_out() {
        let text = "Types: deb\nURIs: http://a.example\nSuites: sid\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END\n";
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let sources = deb822_entries(text)[0].sources(&key).unwrap();
        assert!(sources.contains(&format!("signed-by={}", key.display())));
        assert_eq!(
            fs::read_to_string(key).unwrap(),
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END\n"
        );
    }

    #[test]
    fn no_mirror_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        assert!(archives(dir.path())
            .unwrap_err()
            .to_string()
            .contains("sources.list(5)"));
    }
}
