//! `nuncio generate-pages FOLDER`: man pages and shell completions, for whoever packs the program (`packaging/deb.sh`).
//!
//! They are made by the program itself, so that they cannot tell of another command line than the one that it has. No user
//! has a use for it: it is looked for before clap is, and occurs in no help, page or completion.

mod manual;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::{Arguments, code};

const WORD: &str = "generate-pages";
const PROGRAM: &str = "nuncio";

/// The folder, when the arguments are these two words.
pub(super) fn asked_for(mut arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let (_, word, folder, more) = (arguments.next()?, arguments.next()?, arguments.next()?, arguments.next());
    (word == WORD && more.is_none()).then(|| folder.into())
}

/// Writes `man/nuncio*.1`, `man/nuncio.toml.5`, and `bash/nuncio`, `zsh/_nuncio`, `fish/nuncio.fish`.
pub(super) fn write(folder: &Path) -> anyhow::Result<u8> {
    let man = made(folder.join("man"))?;
    pages(Arguments::command(), &man).context("man pages")?;
    fs::write(man.join("nuncio.toml.5"), manual::of_configuration(nuncio::config::DEFAULTS))?;
    for (shell, name, wanted) in
        [(Shell::Bash, "bash", "nuncio"), (Shell::Zsh, "zsh", "_nuncio"), (Shell::Fish, "fish", "nuncio.fish")]
    {
        let dir = made(folder.join(name))?;
        let written = generate_to(shell, &mut Arguments::command(), PROGRAM, &dir).context("completions")?;
        fs::rename(&written, dir.join(wanted))?;
    }
    Ok(code::OK)
}

fn made(folder: PathBuf) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// A page for the program and one for each subcommand: `nuncio-flash.1`.
fn pages(command: Command, folder: &Path) -> anyhow::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().cloned());
        Man::new(command).manual("Nuncio").source(concat!("nuncio ", env!("CARGO_PKG_VERSION"))).generate_to(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_and_no_others_ask_for_pages() {
        let asked = |words: &[&str]| asked_for(words.iter().map(OsString::from));
        assert_eq!(asked(&["nuncio", "generate-pages", "x"]), Some(PathBuf::from("x")));
        for words in [&["nuncio"][..], &["nuncio", "generate-pages"], &["nuncio", "check", "x"], &["n", WORD, "x", "y"]]
        {
            assert_eq!(asked(words), None, "{words:?}");
        }
    }

    #[test]
    fn every_subcommand_has_a_page_and_is_completed() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        let read =
            |path: &str| fs::read_to_string(folder.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let completions = ["bash/nuncio", "zsh/_nuncio", "fish/nuncio.fish"].map(read);
        let overview = read("man/nuncio.1");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            assert!(read(&format!("man/nuncio-{name}.1")).contains(".TH"), "{name}");
            assert!(completions.iter().all(|text| text.contains(name)), "{name} is not completed everywhere");
            assert!(overview.contains(&name.replace('-', "\\-")), "{name} is not in the overview");
        }
        assert!(completions.iter().all(|text| !text.contains(WORD)), "it is for no user");
        assert!(read("man/nuncio.toml.5").contains("again_after"));
    }
}
