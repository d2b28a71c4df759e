//! Settings of the kernel (`sysctl`) that forwarding takes, and putting them back.
//!
//! Forwarding has one switch a family, for all devices, and turning it turns others: the list of
//! what is to be put back holds those too.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the settings of the thread's network namespace are.
pub const ROOT: &str = "/proc/sys/net";

/// A setting, and what it was before us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path below [`ROOT`].
    pub name: PathBuf,
    /// What it was.
    pub was: String,
    /// What we set it to; `None` of one that the kernel will change by itself when another one is
    /// put back.
    pub ours: Option<String>,
}

/// What is to be set so that the kernel forwards packets of these families, in order; nothing where
/// it does already.
///
/// # Errors
/// When the settings can't be read.
pub fn forwarding(root: &Path, v4: bool, v6: bool) -> io::Result<Vec<Setting>> {
    let mut all = Vec::new();
    let ours = |name: &Path, was: &str, ours: &str| Setting {
        name: name.to_owned(),
        was: was.to_owned(),
        ours: Some(ours.to_owned()),
    };
    let v4_switch = Path::new("ipv4/ip_forward");
    if v4 && read(root, v4_switch)? == "0" {
        all.extend(turned_off(root, "ipv4")?);
        // The kernel allows it again when forwarding ends, whatever it was.
        let redirects = Path::new("ipv4/conf/all/accept_redirects");
        if read(root, redirects)? == "0" {
            all.push(Setting { name: redirects.to_owned(), was: "0".to_owned(), ours: None });
        }
        all.push(ours(v4_switch, "0", "1"));
    }
    let v6_switch = Path::new("ipv6/conf/all/forwarding");
    if v6 && read(root, v6_switch)? == "0" {
        all.extend(turned_off(root, "ipv6")?);
        // A device that forwards takes no more routes from router advertisements unless told so.
        for device in devices(root, "ipv6")? {
            let name = Path::new("ipv6/conf").join(device).join("accept_ra");
            if read(root, &name)? == "1" {
                all.push(ours(&name, "1", "2"));
            }
        }
        all.push(ours(v6_switch, "0", "1"));
    }
    Ok(all)
}

/// The devices that forward although forwarding is off: they would not any more when it is turned
/// on and off again.
fn turned_off(root: &Path, family: &str) -> io::Result<Vec<Setting>> {
    let mut all = Vec::new();
    for device in devices(root, family)? {
        let name = Path::new(family).join("conf").join(device).join("forwarding");
        if read(root, &name)? == "1" {
            all.push(Setting { name, was: "1".to_owned(), ours: None });
        }
    }
    Ok(all)
}

/// The devices that have settings, and `default`; not `all`, which is none.
fn devices(root: &Path, family: &str) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root.join(family).join("conf"))?;
    let names = entries.map(|entry| entry.map(|entry| PathBuf::from(entry.file_name())));
    names.filter(|name| !matches!(name, Ok(name) if name == Path::new("all"))).collect()
}

fn read(root: &Path, name: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(root.join(name))?.trim().to_owned())
}

impl Setting {
    /// Sets it.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn set(&self, root: &Path) -> io::Result<()> {
        match &self.ours {
            Some(ours) => fs::write(root.join(&self.name), ours),
            None => Ok(()),
        }
    }

    /// Puts it back, unless somebody has set it to something else meanwhile or its device is gone.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn put_back(&self, root: &Path) -> io::Result<()> {
        let now = match read(root, &self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            now => now?,
        };
        let is_foreign = self.ours.as_ref().is_some_and(|ours| now != *ours);
        if now == self.was || is_foreign {
            return Ok(());
        }
        fs::write(root.join(&self.name), &self.was)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A tree of settings in the temporary directory.
    fn tree(name: &str, settings: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("kernel-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (name, value) in settings {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    const IDLE: &[(&str, &str)] = &[
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/all/forwarding", "0"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/default/forwarding", "0"),
        ("ipv4/conf/eth0/forwarding", "1"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/all/accept_ra", "1"),
        ("ipv6/conf/eth0/forwarding", "0"),
        ("ipv6/conf/eth0/accept_ra", "1"),
        ("ipv6/conf/eth1/forwarding", "0"),
        ("ipv6/conf/eth1/accept_ra", "0"),
    ];

    #[test]
    fn what_forwarding_takes_and_turns_is_put_back() {
        let root = tree("forwarding", IDLE);
        let settings = forwarding(&root, true, true).unwrap();
        let names: Vec<_> = settings.iter().map(|s| s.name.to_str().unwrap()).collect();
        let expected = [
            "ipv4/conf/eth0/forwarding",
            "ipv4/conf/all/accept_redirects",
            "ipv4/ip_forward",
            "ipv6/conf/eth0/accept_ra",
            "ipv6/conf/all/forwarding",
        ];
        assert_eq!(names, expected);
        settings.iter().try_for_each(|setting| setting.set(&root)).unwrap();
        assert_eq!(read(&root, Path::new("ipv6/conf/eth0/accept_ra")).unwrap(), "2");
        assert!(forwarding(&root, true, true).unwrap().is_empty(), "it forwards already");
        // What the kernel does when forwarding is turned off.
        fs::write(root.join("ipv4/conf/eth0/forwarding"), "0").unwrap();
        fs::write(root.join("ipv4/conf/all/accept_redirects"), "1").unwrap();
        settings.iter().rev().try_for_each(|setting| setting.put_back(&root)).unwrap();
        for (name, value) in IDLE {
            assert_eq!(read(&root, Path::new(name)).unwrap(), *value, "{name}");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_somebody_else_set_stays() {
        let root = tree("foreign", IDLE);
        let settings = forwarding(&root, false, true).unwrap();
        settings.iter().try_for_each(|setting| setting.set(&root)).unwrap();
        fs::write(root.join("ipv6/conf/eth0/accept_ra"), "0").unwrap();
        fs::remove_dir_all(root.join("ipv6/conf/eth1")).unwrap();
        settings.iter().rev().try_for_each(|setting| setting.put_back(&root)).unwrap();
        assert_eq!(read(&root, Path::new("ipv6/conf/eth0/accept_ra")).unwrap(), "0");
        assert_eq!(read(&root, Path::new("ipv6/conf/all/forwarding")).unwrap(), "0");
        fs::remove_dir_all(&root).unwrap();
    }
}
