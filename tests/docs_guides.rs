//! The guides: each file that they show is read as it stands, each command is one that there is, each link leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use world::commands;

/// A page with its lines.
struct Page {
    path: PathBuf,
    text: String,
}

/// The guides and the README.
fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guides = fs::read_dir(root.join("docs/guide")).expect("guides").map(|entry| entry.expect("readable").path());
    let pages: Vec<Page> = guides
        .chain([root.join("README.md")])
        .map(|path| Page { text: fs::read_to_string(&path).expect("text"), path })
        .collect();
    assert!(pages.len() > 5, "there are guides");
    pages
}

/// The blocks of a page in a language.
fn blocks<'a>(page: &'a Page, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let begun = page.text.split(&fence).skip(1);
    begun.map(|rest| rest.split("\n```").next().expect("a split has a first part")).collect()
}

fn nuncio(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nuncio")).args(arguments).output().expect("started");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn what_files_hold_is_valid_as_it_stands() {
    for page in pages().iter().filter(|page| page.path.parent().is_some_and(|folder| folder.ends_with("guide"))) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = format!("[gateway]\nstate = {:?}\n", dir.path().join("state"));
        for block in blocks(page, "toml") {
            let (first, rest) = block.split_once('\n').expect("a file has a name and content");
            let name = first.strip_prefix("# /etc/nuncio/").unwrap_or_else(|| panic!("{first}: which file is it?"));
            if name == "nuncio.toml" {
                config.push_str(&format!("{rest}\n"));
                continue;
            }
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().expect("below the folder")).expect("made");
            fs::write(file, block).expect("written");
        }
        // Boards of other pages' files, and keys that only an operator has.
        let config = config.replace("signatures = \"required\"", "signatures = \"if-present\"");
        let greenhouse = dir.path().join("boards.d/greenhouse.toml");
        if config.contains("greenhouse") && !greenhouse.exists() {
            fs::create_dir_all(greenhouse.parent().expect("a folder")).expect("made");
            let board = "schema = 1\n[board.greenhouse]\nname = \"G\"\n[board.greenhouse.flash]\n\
                         image = { formats = [\"raw\"], max_size = 1000 }\nreboot = \"dtr\"\nexpect_return = \"10s\"\ntimeout = \"5m\"\n";
            fs::write(&greenhouse, board).expect("written");
        }
        let target = dir.path().join("nuncio.toml");
        fs::write(&target, &config).expect("written");
        let (_, said) = nuncio(&["--config", target.to_str().expect("text"), "check"]);
        let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
        // Ports, tools and the state folder are this machine's.
        let of_files: Vec<_> =
            wrong.iter().filter(|line| line.contains("configuration") || line.contains("boards, tools")).collect();
        assert!(of_files.is_empty(), "{}:\n{said}\nof\n{config}", page.path.display());
    }
}

#[test]
fn every_command_is_one_that_there_is() {
    let (worked, help) = nuncio(&["--help"]);
    assert!(worked, "{help}");
    let known: BTreeSet<&str> = commands(&help).into_iter().collect();
    assert!(known.len() > 15, "{known:?}");
    for page in pages() {
        for line in blocks(&page, "sh").into_iter().flat_map(str::lines) {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let Some(at) = words.iter().position(|word| *word == "nuncio") else { continue };
            let Some(command) = words.get(at + 1).filter(|_| words.get(at.wrapping_sub(1)) != Some(&"-u")) else {
                continue;
            };
            let named =
                !matches!(words.get(at.wrapping_sub(1)), Some(&("restart" | "reload" | "start" | "stop" | "$USER")));
            if named {
                assert!(known.contains(command), "{}: `{line}`", page.path.display());
            }
        }
    }
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    for page in pages() {
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = page.path.parent().expect("a folder").join(target.split('#').next().unwrap_or_default());
            assert!(file.exists(), "{}: {target}", page.path.display());
        }
    }
}
