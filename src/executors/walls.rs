//! What keeps a flash tool to its work: it gains no privileges, writes nowhere but in its own folder, opens no device but
//! the one that was leased, and has no network, as far as this machine can do that.
//!
//! The rules are made before the fork; between fork and exec they are only put into force, after the gate. A tool's file asks
//! for more by name (`sandbox`), and `nuncio check` tells both that and what the machine lacks.

use std::collections::BTreeSet;
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::UnshareFlags;

/// The newest rules that are asked for; an older kernel enforces what it knows of them.
const RULES: ABI = ABI::V5;
/// Devices that say nothing about anything.
const HARMLESS: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Devices: a port that was not leased is not to be read either.
const DEVICES: &str = "/dev";
/// Most rules for what lies in one folder; with more in it, nothing of it is allowed.
const MAX_RULES: usize = 4096;

/// What a tool's file says of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sandbox {
    /// False: none of it.
    pub(super) on: bool,
    /// It may use the network.
    pub(super) network: bool,
    /// Files and folders that it may write besides its own.
    pub(super) write: Vec<PathBuf>,
    /// Largest file that it may write, in bytes.
    pub(super) max_file: u64,
    /// Most that it may have in its folder, in bytes.
    pub(super) max_folder: u64,
    /// Files that it may have open.
    pub(super) max_open: u64,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { on: true, network: false, write: Vec::new(), max_file: 256 << 20, max_folder: 256 << 20, max_open: 256 }
    }
}

/// What a job may touch.
#[derive(Debug)]
pub(super) struct Touched<'a> {
    /// Its private folder.
    pub(super) folder: &'a Path,
    /// The image that it reads.
    pub(super) image: &'a Path,
    /// The port that was leased.
    pub(super) port: &'a Path,
    /// The gateway's state, of which it may read nothing else.
    pub(super) state: &'a Path,
}

/// Puts a command behind its walls. To be called last: they are up from then on.
///
/// # Errors
/// When the rules cannot be made; a kernel without them is no error.
pub(super) fn raise(command: &mut Command, sandbox: &Sandbox, touched: &Touched<'_>) -> Result<(), RulesetError> {
    if !sandbox.on {
        return Ok(());
    }
    let mut rules = Some(rules(sandbox, touched)?);
    let limits = [(Resource::Core, 0), (Resource::Fsize, sandbox.max_file), (Resource::Nofile, sandbox.max_open)];
    let alone = !sandbox.network && may_have_own_network();
    put_up(command, move || {
        limits.into_iter().try_for_each(|(what, most)| limit(what, most))?;
        if alone {
            leave_the_network()?;
        }
        match rules.take() {
            Some(rules) => rules.restrict_self().map(drop).map_err(|_| Error::from(rustix::io::Errno::PERM)),
            None => Ok(()),
        }
    });
    Ok(())
}

#[expect(unsafe_code, reason = "a pre-exec hook is the only place where a child can wall itself in")]
fn put_up(command: &mut Command, hook: impl FnMut() -> Result<(), Error> + Send + Sync + 'static) {
    // SAFETY: the hook makes a few system calls on what was prepared before the fork, and takes no lock.
    unsafe { command.pre_exec(hook) };
}

/// At most what the gateway itself has.
fn limit(what: Resource, most: u64) -> Result<(), Error> {
    let most = rustix::process::getrlimit(what).maximum.map_or(most, |hard| hard.min(most));
    Ok(rustix::process::setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) })?)
}

#[expect(unsafe_code, reason = "a child leaves the gateway's network between fork and exec")]
fn leave_the_network() -> Result<(), Error> {
    // SAFETY: only the network is unshared, no descriptors; and only this thread exists in the child.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Only root may leave its network without leaving its user, too.
fn may_have_own_network() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/proc/self/ns/net").exists()
}

fn rules(sandbox: &Sandbox, touched: &Touched<'_>) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(RULES);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?;
    if !sandbox.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(RULES))?;
    }
    let mut created = ruleset.create()?;
    for path in readable(touched.state) {
        created = allow(created, &path, AccessFs::from_read(RULES))?;
    }
    created = allow(created, touched.image, AccessFs::from_read(RULES))?;
    // A device node of its own making would be a way round the lease.
    created = allow(created, touched.folder, all & !(AccessFs::MakeChar | AccessFs::MakeBlock))?;
    let own = sandbox.write.iter().map(PathBuf::as_path);
    let devices = HARMLESS.iter().map(Path::new).chain([touched.port]);
    for path in own.chain(devices) {
        created = allow(created, path, all)?;
    }
    Ok(created)
}

/// What is not there needs no rule; of a file only what files can be asked.
fn allow(created: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(created) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(RULES) };
    created.add_rule(PathBeneath::new(opened, access))
}

/// Everything but devices and the gateway's state: what lies beside it, at each level of its path.
fn readable(state: &Path) -> BTreeSet<PathBuf> {
    let Ok(state) = state.canonicalize() else {
        tracing::warn!(folder = %state.display(), "cannot tell the gateway's state apart: tools may read nothing");
        return BTreeSet::new();
    };
    let leads_there =
        |path: &Path| path.canonicalize().is_ok_and(|target| state.starts_with(&target) || target.starts_with(&state));
    let mut beside = BTreeSet::new();
    for above in state.ancestors().skip(1) {
        let entries: Vec<PathBuf> =
            std::fs::read_dir(above).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        if entries.len() > MAX_RULES {
            tracing::warn!(folder = %above.display(), "too much lies in it to tell the gateway's state apart: tools may not read it");
            continue;
        }
        beside.extend(entries.into_iter().filter(|path| path != Path::new(DEVICES) && !leads_there(path)));
    }
    beside
}

impl Sandbox {
    /// What it allows, for people.
    pub(super) fn told(&self) -> String {
        if !self.on {
            return "no sandbox: its file says so".to_owned();
        }
        let mut told = vec!["reads all but the gateway's state", "writes its own folder and its port"];
        told.push(if self.network { "uses the network" } else { "no network" });
        let more: Vec<String> = self.write.iter().map(|path| format!("writes {}", path.display())).collect();
        told.into_iter().map(str::to_owned).chain(more).collect::<Vec<_>>().join(", ")
    }
}

/// What of the sandbox this machine lacks, one line each.
pub(super) fn lacks() -> Vec<String> {
    let mut lacks = Vec::new();
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if strict().handle_access(AccessFs::from_all(ABI::V1)).is_err() {
        lacks.push("the kernel has no Landlock: tools can write wherever the gateway can".to_owned());
    } else if strict().handle_access(AccessFs::from_all(RULES)).is_err() {
        lacks.push("the kernel's Landlock is old: tools may ask other devices for things".to_owned());
    }
    if strict().handle_access(AccessNet::from_all(ABI::V4)).is_err() {
        lacks.push("the kernel's Landlock does not know the network".to_owned());
    }
    if !may_have_own_network() {
        lacks.push("only root can give tools a network of their own: UDP stays open to them".to_owned());
    }
    lacks
}
