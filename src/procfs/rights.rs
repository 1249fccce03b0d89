//! Whose a port is, and what an operator can do where its permissions keep the gateway out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A port that the gateway may not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// Owner, group and mode, e.g. `root:dialout 0660`.
    pub(crate) permissions: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// What to tell of a port whose permissions keep the gateway out.
pub(crate) fn forbidden(path: &Path) -> Forbidden {
    let Ok(found) = fs::metadata(path) else {
        let remedy = format!("look at `ls -lL {}`", path.display());
        return Forbidden { permissions: "unknown".to_owned(), remedy };
    };
    let names = Names::read();
    let (owner, group) = (names.user(found.uid()), names.group(found.gid()));
    let mode = found.mode() & 0o7777;
    let remedy = remedy(path, &names, found.gid(), mode);
    Forbidden { permissions: format!("{owner}:{group} {mode:04o}"), remedy }
}

fn remedy(path: &Path, names: &Names, gid: u32, mode: u32) -> String {
    let (user, group, path) = (names.own(), names.group(gid), path.display());
    if mode & 0o060 != 0o060 || gid == 0 {
        return format!(
            "no group may use it: `sudo chgrp dialout {path}; sudo chmod 0660 {path}`, for good by a udev rule"
        );
    }
    if names.is_member(&user, gid) {
        return format!("{user} is in group {group} by now: restart the gateway");
    }
    format!("`sudo usermod -aG {group} {user}`, then restart the gateway")
}

/// The system's names of users and groups, from its two files; others (LDAP) show as numbers.
struct Names {
    passwd: String,
    group: String,
}

impl Names {
    fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    fn own(&self) -> String {
        self.user(rustix::process::geteuid().as_raw())
    }

    fn user(&self, uid: u32) -> String {
        lookup(&self.passwd, uid).map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
    }

    fn group(&self, gid: u32) -> String {
        lookup(&self.group, gid).map_or_else(|| gid.to_string(), |fields| fields[0].to_owned())
    }

    fn is_member(&self, user: &str, gid: u32) -> bool {
        let fields = lookup(&self.group, gid).unwrap_or_default();
        fields.get(3).is_some_and(|members| members.split(',').any(|member| member == user))
    }
}

/// The fields of the line whose third field is an id; both files are built like that.
fn lookup(file: &str, id: u32) -> Option<Vec<&str>> {
    let lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.into_iter().find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            passwd: "root:x:0:0::/root:/bin/sh\nnuncio:x:990:990::/:/bin/false\n".to_owned(),
            group: "root:x:0:\ndialout:x:20:anna,nuncio\nplugdev:x:46:anna\n".to_owned(),
        }
    }

    #[test]
    fn ids_become_names_where_the_system_has_them() {
        assert_eq!((names().user(990).as_str(), names().group(20).as_str()), ("nuncio", "dialout"));
        assert_eq!((names().user(4242).as_str(), names().group(4242).as_str()), ("4242", "4242"));
        assert!(names().is_member("nuncio", 20) && !names().is_member("nuncio", 46));
    }

    #[test]
    fn the_remedy_names_the_ports_real_group() {
        let path = Path::new("/dev/ttyUSB0");
        assert!(remedy(path, &names(), 46, 0o660).contains("usermod -aG plugdev "));
        assert!(remedy(path, &names(), 0, 0o600).contains("udev rule"));
    }
}
