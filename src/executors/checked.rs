//! From the text of a tool file to checked tools: everything that can be wrong is found here, at load, with its place.
//!
//! Driven by `tools`. Nothing is looked up on the machine but credentials.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use regex::bytes::Regex;
use toml::Spanned;

use crate::credentials::Credentials;
use crate::device::FileError;

use super::command::{BUILT_IN_VARIABLES, SECRET};
use super::patterns::{self, PatternId, Patterns};
use super::shape::{
    FileShape, KillShape, OptionalShape, OutcomeShape, ProgressShape, TimeoutsShape, ToolShape, VarShape, VersionShape,
};
use super::template::Template;
use super::tool::{Arguments, OptionalArguments, Progress, ProgressKind, Rule, Tool, Trigger, Verdict, VersionQuery};
use super::version::Version;

/// The only schema there is.
const SCHEMA: u32 = 1;
/// Most patterns of one tool.
const MAX_PATTERNS: usize = 128;
/// Most arguments of one command line.
const MAX_ARGUMENTS: usize = 256;

/// Reads one file.
///
/// # Errors
/// Everything that is wrong in it, in the order in which it was found.
pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Tool>, Vec<FileError>> {
    let shape: FileShape = toml::from_str(text).map_err(|error| vec![unreadable(file, text, error)])?;
    if *shape.schema.get_ref() != SCHEMA {
        let message = format!("schema {} is not known: expected {SCHEMA}", shape.schema.get_ref());
        return Err(vec![FileError::at(file, text, shape.schema.span(), "schema", message)]);
    }
    let mut problems = Vec::new();
    let mut tools = Vec::new();
    for (name, shape) in shape.tool {
        let checker = Checker { file, text, tool: name.get_ref(), problems: Vec::new(), regexes: Vec::new() };
        match checker.tool(&name, shape) {
            Ok(tool) => tools.push(tool),
            Err(mut found) => problems.append(&mut found),
        }
    }
    if problems.is_empty() { Ok(tools) } else { Err(problems) }
}

/// A syntax error, a wrong type or an unknown key, as the parser tells it.
fn unreadable(file: &Path, text: &str, mut error: toml::de::Error) -> FileError {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    // Without its input the parser's error names the key in a line of its own.
    error.set_input(None);
    let told = error.to_string();
    let above = told.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
    // Of an unknown key only the table above it is named.
    let key = match text.get(span.clone()) {
        Some(field) if message.starts_with("unknown field") => format!("{above}.{field}"),
        _ => above.to_owned(),
    };
    FileError::at(file, text, span, key.trim_start_matches('.'), message)
}

/// Checks one tool; collects what is wrong.
struct Checker<'f> {
    file: &'f Path,
    text: &'f str,
    tool: &'f str,
    problems: Vec<FileError>,
    regexes: Vec<Regex>,
}

impl Checker<'_> {
    fn tool(mut self, name: &Spanned<String>, shape: ToolShape) -> Result<Tool, Vec<FileError>> {
        self.name(name);
        self.programs(&shape.program);
        let version = shape.version.and_then(|shape| self.version(shape));
        let known = self.variables(&shape.needs, &shape.vars);
        let vars = self.values(shape.vars);
        let flash = self.by_version("", &shape.argv, &shape.argv_below, &known, version.is_some());
        let backup = shape
            .backup
            .map(|shape| self.by_version("backup.", &shape.argv, &shape.argv_below, &known, version.is_some()));
        let optional = self.optional(shape.optional, &known);
        self.timeouts(&shape.timeouts, &shape.formats);
        let alive = self.alive(&shape.alive);
        let progress = self.progress(shape.progress);
        let kill_on = self.kill_on(shape.kill_on);
        let outcome = self.outcome(&shape.outcome);
        let patterns = self.compiled(name.span());
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(Tool {
            name: name.get_ref().clone(),
            file: self.file.to_owned(),
            programs: plain(shape.program.into_inner()),
            install: shape.install,
            version,
            needs: plain(shape.needs),
            vars,
            formats: shape.formats.into_inner(),
            flash,
            backup,
            optional,
            stdio: shape.stdio,
            sandbox: shape.sandbox,
            stalled: shape.timeouts.stalled,
            total: shape.timeouts.total,
            patterns,
            alive,
            progress,
            kill_on,
            outcome,
        })
    }

    fn fail(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        let key = if key.is_empty() { format!("tool.{}", self.tool) } else { format!("tool.{}.{key}", self.tool) };
        self.problems.push(FileError::at(self.file, self.text, span, key, message));
    }

    fn name(&mut self, name: &Spanned<String>) {
        let right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.get_ref().is_empty() || name.get_ref().len() > 64 || !name.get_ref().chars().all(right) {
            self.fail("", name.span(), "expected a name of 1 to 64 letters, digits, `-`, `_` and `.`");
        }
    }

    fn programs(&mut self, programs: &Spanned<Vec<Spanned<String>>>) {
        if programs.get_ref().is_empty() {
            self.fail("program", programs.span(), "expected at least one program name");
        }
        for (index, program) in programs.get_ref().iter().enumerate() {
            let name = program.get_ref();
            let right = !name.is_empty() && !name.contains('\0') && (name.starts_with('/') || !name.contains('/'));
            if !right {
                let message = "expected the name of a program in PATH or an absolute path";
                self.fail(&format!("program[{index}]"), program.span(), message);
            }
        }
    }

    fn version(&mut self, shape: VersionShape) -> Option<VersionQuery> {
        let regex = patterns::compile(shape.regex.get_ref());
        let min = shape.min.as_ref().map(|min| (min.span(), min.get_ref().parse::<Version>()));
        if let Err(message) = &regex {
            self.fail("version.regex", shape.regex.span(), message);
        } else if regex.as_ref().is_ok_and(|regex| regex.captures_len() != 2) {
            self.fail("version.regex", shape.regex.span(), "expected one group, which holds the version");
        }
        let min = match min {
            Some((span, Err(message))) => {
                self.fail("version.min", span, message);
                None
            }
            Some((_, Ok(version))) => Some(version),
            None => None,
        };
        Some(VersionQuery { argv: shape.argv, regex: regex.ok()?, min })
    }

    /// The names that templates may use.
    fn variables(&mut self, needs: &[Spanned<String>], vars: &BTreeMap<Spanned<String>, VarShape>) -> Vec<String> {
        let mut known: Vec<String> = BUILT_IN_VARIABLES.iter().map(|&name| name.to_owned()).collect();
        let needed = needs.iter().enumerate().map(|(index, name)| (format!("needs[{index}]"), name));
        let given = vars.keys().map(|name| (format!("vars.{}", name.get_ref()), name));
        for (key, name) in needed.chain(given) {
            if known.contains(name.get_ref()) {
                self.fail(&key, name.span(), format!("variable `{}` is there already", name.get_ref()));
            }
            known.push(name.get_ref().clone());
        }
        known
    }

    /// The values of the tool's own variables. A credential must be in one that is masked wherever it is shown.
    fn values(&mut self, vars: BTreeMap<Spanned<String>, VarShape>) -> BTreeMap<String, String> {
        let credentials = Credentials::beside(self.file.parent().unwrap_or(self.file));
        let mut values = BTreeMap::new();
        for (name, value) in vars {
            let read = match value {
                VarShape::Text(text) => Ok(text),
                VarShape::Credential(_) if !name.get_ref().starts_with(SECRET) => {
                    Err(format!("a credential would be shown: call the variable `{SECRET}{}`", name.get_ref()))
                }
                VarShape::Credential(shape) => credentials.read(&shape.credential),
            };
            match read {
                Ok(text) => drop(values.insert(name.into_inner(), text)),
                Err(error) => self.fail(&format!("vars.{}", name.get_ref()), name.span(), error),
            }
        }
        values
    }

    fn arguments(&mut self, key: &str, templates: &[Spanned<String>], known: &[String]) -> Vec<Template> {
        if let Some(first_too_many) = templates.get(MAX_ARGUMENTS) {
            self.fail(key, first_too_many.span(), format!("expected at most {MAX_ARGUMENTS} arguments"));
        }
        let templates = templates.iter().take(MAX_ARGUMENTS).enumerate();
        templates.filter_map(|(index, text)| self.template(&format!("{key}[{index}]"), text, known)).collect()
    }

    fn template(&mut self, key: &str, text: &Spanned<String>, known: &[String]) -> Option<Template> {
        let template = match Template::parse(text.get_ref()) {
            Ok(template) => template,
            Err(error) => {
                self.fail(key, self.inside(text, &error.at), error.to_string());
                return None;
            }
        };
        for name in template.variables().filter(|&name| !known.iter().any(|known| known == name)) {
            let hole = format!("{{{name}}}");
            let at = text.get_ref().find(&hole).unwrap_or(0);
            let message = format!("unknown variable `{name}`: known are {}", known.join(", "));
            let error = FileError::at(
                self.file,
                self.text,
                self.inside(text, &(at..at + hole.len())),
                format!("tool.{}.{key}", self.tool),
                message,
            );
            self.problems.push(error.with_hint("what the board's file gives is listed in `needs`"));
        }
        Some(template)
    }

    /// Where bytes of a string stand in the file: exact where it is written without escapes, else the whole string.
    fn inside(&self, text: &Spanned<String>, at: &Range<usize>) -> Range<usize> {
        let span = text.span();
        let written = self.text.get(span.clone()).unwrap_or_default();
        match written.get(1..written.len().saturating_sub(1)) {
            Some(inner) if inner == text.get_ref() => span.start + 1 + at.start..span.start + 1 + at.end,
            _ => span,
        }
    }

    fn by_version(
        &mut self,
        above: &str,
        argv: &[Spanned<String>],
        below: &BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
        known: &[String],
        asks_version: bool,
    ) -> Arguments {
        let argv = self.arguments(&format!("{above}argv"), argv, known);
        Arguments { argv, argv_below: self.argv_below(above, below, known, asks_version) }
    }

    fn argv_below(
        &mut self,
        above: &str,
        shapes: &BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
        known: &[String],
        asks_version: bool,
    ) -> Vec<(Version, Vec<Template>)> {
        let mut checked = Vec::new();
        for (below, templates) in shapes {
            let key = format!("{above}argv_below.\"{}\"", below.get_ref());
            let argv = self.arguments(&key, templates, known);
            match below.get_ref().parse::<Version>() {
                Ok(version) => checked.push((version, argv)),
                Err(message) => self.fail(&key, below.span(), message),
            }
            if !asks_version {
                self.fail(&key, below.span(), "there is no `version` to compare with");
            }
        }
        checked.sort_by(|a, b| a.0.cmp(&b.0));
        checked
    }

    fn optional(&mut self, shapes: Vec<OptionalShape>, known: &[String]) -> Vec<OptionalArguments> {
        let mut checked = Vec::new();
        for (index, shape) in shapes.into_iter().enumerate() {
            let argv = self.arguments(&format!("optional[{index}].argv"), &shape.argv, known);
            for name in shape.when.keys().filter(|name| !known.contains(name.get_ref())) {
                let key = format!("optional[{index}].when.{}", name.get_ref());
                self.fail(&key, name.span(), format!("unknown variable: known are {}", known.join(", ")));
            }
            let when = shape.when.into_iter().map(|(name, value)| (name.into_inner(), value)).collect();
            checked.push(OptionalArguments { when, argv });
        }
        checked
    }

    fn timeouts<T>(&mut self, shape: &TimeoutsShape, beside: &Spanned<T>) {
        if shape.stalled.is_zero() || shape.total.is_zero() || shape.stalled > shape.total {
            self.fail("timeouts", beside.span(), "expected 0 < stalled <= total");
        }
    }

    fn pattern(&mut self, key: &str, text: &Spanned<String>) -> Option<PatternId> {
        match patterns::compile(text.get_ref()) {
            Ok(regex) => {
                self.regexes.push(regex);
                Some(self.regexes.len() - 1)
            }
            Err(message) => {
                self.fail(key, text.span(), message);
                None
            }
        }
    }

    fn has_group(&self, pattern: PatternId, name: &str) -> bool {
        self.regexes[pattern].capture_names().flatten().any(|group| group == name)
    }

    fn compiled(&mut self, span: Range<usize>) -> Patterns {
        if self.regexes.len() > MAX_PATTERNS {
            self.fail("", span, format!("expected at most {MAX_PATTERNS} patterns"));
            return Patterns::default();
        }
        Patterns::new(std::mem::take(&mut self.regexes)).unwrap_or_else(|message| {
            self.fail("", span, format!("the patterns are too large together: {message}"));
            Patterns::default()
        })
    }

    fn alive(&mut self, texts: &[Spanned<String>]) -> Vec<PatternId> {
        let texts = texts.iter().enumerate();
        texts.filter_map(|(index, text)| self.pattern(&format!("alive[{index}]"), text)).collect()
    }

    fn progress(&mut self, shapes: Vec<Spanned<ProgressShape>>) -> Vec<Progress> {
        let mut checked = Vec::new();
        for (index, shape) in shapes.into_iter().enumerate() {
            let (key, span, shape) = (format!("progress[{index}]"), shape.span(), shape.into_inner());
            let phase = shape.phase;
            let kind = match shape {
                ProgressShape { regex: Some(regex), start: None, count: None, full: None, .. } => {
                    self.pattern(&format!("{key}.regex"), &regex).map(|pattern| ProgressKind::Line { pattern })
                }
                ProgressShape { regex: None, start: Some(start), count: Some(count), full: Some(full), .. } => {
                    self.counting(&key, &start, &count, &full)
                }
                _ => {
                    self.fail(&key, span, "expected either `regex` or all of `start`, `count` and `full`");
                    None
                }
            };
            checked.extend(kind.map(|kind| Progress { phase, kind }));
        }
        checked
    }

    fn counting(
        &mut self,
        key: &str,
        start: &Spanned<String>,
        count: &Spanned<String>,
        full: &Spanned<u32>,
    ) -> Option<ProgressKind> {
        let &[byte] = count.get_ref().as_bytes() else {
            self.fail(&format!("{key}.count"), count.span(), "expected one ASCII character");
            return None;
        };
        if *full.get_ref() == 0 {
            self.fail(&format!("{key}.full"), full.span(), "expected how many make 100 %");
        }
        let start = self.pattern(&format!("{key}.start"), start)?;
        Some(ProgressKind::Count { start, byte, full: *full.get_ref() })
    }

    fn kill_on(&mut self, shapes: Vec<KillShape>) -> Vec<Trigger> {
        let mut checked = Vec::new();
        for (index, shape) in shapes.into_iter().enumerate() {
            let text = self.pattern(&format!("kill_on[{index}].text"), &shape.text);
            checked.extend(text.map(|text| Trigger { text, after: shape.after, class: shape.class }));
        }
        checked
    }

    fn outcome(&mut self, shapes: &Spanned<Vec<Spanned<OutcomeShape>>>) -> Vec<Rule> {
        let rules = shapes.get_ref().iter().enumerate();
        let checked: Vec<Rule> = rules.filter_map(|(index, shape)| self.rule(index, shape)).collect();
        if self.problems.is_empty() && !checked.iter().any(|rule| matches!(rule.verdict, Verdict::Ok { .. })) {
            self.fail("outcome", shapes.span(), "no rule has `result = \"ok\"`: this tool could never succeed");
        }
        checked
    }

    fn rule(&mut self, index: usize, shape: &Spanned<OutcomeShape>) -> Option<Rule> {
        let key = format!("outcome[{index}]");
        let (span, shape) = (shape.span(), shape.get_ref());
        let text = shape.text.as_ref().map(|text| self.pattern(&format!("{key}.text"), text));
        let text = if text == Some(None) { return None } else { text.flatten() };
        let mut require = Vec::new();
        for (number, text) in shape.require.iter().enumerate() {
            require.push(self.pattern(&format!("{key}.require[{number}]"), text)?);
        }
        let verdict = match (&shape.result, shape.class) {
            (Some(_), None) => self.ok(&key, span, shape.exit, &require)?,
            (None, Some(class)) => Verdict::Failed(class),
            _ => {
                self.fail(&key, span, "expected either `result = \"ok\"` or a `class`");
                return None;
            }
        };
        Some(Rule { exit: shape.exit, text, require, verdict })
    }

    /// Success needs a proof: exit status 0, and a count of bytes that the tool itself verified.
    fn ok(&mut self, key: &str, span: Range<usize>, exit: Option<i32>, require: &[PatternId]) -> Option<Verdict> {
        let counting: Vec<_> = require.iter().filter(|&&pattern| self.has_group(pattern, "bytes")).collect();
        match counting[..] {
            [&bytes] if exit == Some(0) => Some(Verdict::Ok { bytes }),
            _ => {
                let message = "`ok` needs `exit = 0` and, in one pattern of `require`, a group `(?P<bytes>\\d+)` that \
                               holds how many bytes were verified";
                self.fail(key, span, message);
                None
            }
        }
    }
}

fn plain(texts: Vec<Spanned<String>>) -> Vec<String> {
    texts.into_iter().map(Spanned::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"schema = 1
[tool.x]
program = ["x"]
needs = ["baud"]
vars = { tries = "3" }
formats = { raw = "r" }
argv = ["-b{baud}", "{tries}", "{image.path}"]
timeouts = { stalled = "1s", total = "2s" }
[[tool.x.outcome]]
exit = 0
require = ['(?P<bytes>\d+)']
result = "ok"
"#;

    #[test]
    fn the_example_of_the_readme_is_taken() {
        let readme = include_str!("../../flash-tools/README.md");
        let example = readme.split("```").nth(1).and_then(|block| block.strip_prefix("toml\n")).expect("an example");
        let tools = read(Path::new("README.md"), example).unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert_eq!(tools[0].name(), "dd");
    }

    fn errors(text: &str) -> Vec<FileError> {
        read(Path::new("x.toml"), text).expect_err("an error")
    }

    /// The first error of the good file with one part exchanged: line, key, message.
    fn error(from: &str, to: &str) -> (usize, String, String) {
        assert!(GOOD.contains(from), "{from}");
        let first = errors(&GOOD.replacen(from, to, 1)).remove(0);
        (first.line, first.key, first.message)
    }

    #[test]
    fn a_secret_may_be_a_credential_and_nothing_else_may() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("credentials")).expect("made");
        std::fs::write(folder.path().join("credentials/ota"), "hunter2\n").expect("written");
        let file = folder.path().join("flash-tools/x.toml");
        let with = |vars: &str| read(&file, &GOOD.replace("tries = \"3\"", &format!("tries = \"3\", {vars}")));
        let tools = with("\"secret.key\" = { credential = \"ota\" }").unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert_eq!(tools[0].vars["secret.key"], "hunter2");
        for (vars, key, wrong) in [
            ("key = { credential = \"ota\" }", "tool.x.vars.key", "call the variable `secret.key`"),
            ("\"secret.key\" = { credential = \"gone\" }", "tool.x.vars.secret.key", "there is no credential `gone`"),
            (
                "\"secret.key\" = { file = \"ota\" }",
                "tool.x.vars.secret.key",
                "expected text in quotes, or { credential",
            ),
        ] {
            let error = with(vars).expect_err(vars).remove(0);
            assert!(error.message.contains(wrong) && error.line == 5, "{error}");
            assert!(error.key.is_empty() || error.key == key, "{error}");
        }
    }

    #[test]
    fn a_good_file_is_taken() {
        let tools = read(Path::new("x.toml"), GOOD).unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert_eq!((tools.len(), tools[0].name(), tools[0].needs()), (1, "x", &["baud".to_owned()][..]));
    }

    #[test]
    fn an_unknown_variable_is_drawn_under_its_braces() {
        let error = errors(&GOOD.replace("{tries}", "n={trys}")).remove(0);
        let drawn = error.to_string();
        assert!(
            drawn.starts_with("x.toml:7:24: tool.x.argv[1]: unknown variable `trys`: known are port.path,"),
            "{drawn}"
        );
        assert!(drawn.contains("^^^^^^\n"), "{drawn}");
        assert!(drawn.ends_with("hint: what the board's file gives is listed in `needs`"), "{drawn}");
    }

    #[test]
    fn an_unknown_key_is_told_with_line_and_key() {
        let (line, key, message) = error("needs =", "neds =");
        assert_eq!((line, key.as_str()), (4, "tool.x.neds"));
        assert!(message.contains("unknown field `neds`, expected one of"), "{message}");
    }

    #[test]
    fn whatever_is_wrong_is_told_with_line_and_key() {
        let cases = [
            ("schema = 1", "schema = 2", 1, "schema", "schema 2 is not known"),
            ("[\"x\"]", "[]", 3, "tool.x.program", "at least one program"),
            ("[\"x\"]", "[\"bin/x\"]", 3, "tool.x.program[0]", "absolute path"),
            ("[\"baud\"]", "[\"attempt\"]", 4, "tool.x.needs[0]", "`attempt` is there already"),
            ("[\"baud\"]", "[\"tries\", \"baud\"]", 5, "tool.x.vars.tries", "`tries` is there already"),
            ("raw =", "tar =", 6, "tool.x.formats", "unknown variant `tar`"),
            ("-b{baud}", "-b{baud", 7, "tool.x.argv[0]", "`{` without `}`"),
            ("\"1s\"", "\"1\"", 8, "tool.x.timeouts.stalled", "is no duration"),
            ("\"1s\"", "\"9s\"", 6, "tool.x.timeouts", "0 < stalled <= total"),
            ("'(?P<bytes>\\d+)'", "'('", 11, "tool.x.outcome[0].require[0]", "unclosed group"),
            ("'(?P<bytes>\\d+)'", "'ok'", 9, "tool.x.outcome[0]", "a group `(?P<bytes>"),
            ("exit = 0", "exit = 1", 9, "tool.x.outcome[0]", "`ok` needs `exit = 0`"),
            ("result = \"ok\"", "", 9, "tool.x.outcome[0]", "either `result"),
            ("result = \"ok\"", "class = \"no-such\"", 12, "tool.x.outcome.class", "unknown variant `no-such`"),
            ("result = \"ok\"", "class = \"no-sync\"", 9, "tool.x.outcome", "could never succeed"),
            (
                "vars",
                "optional = [{ when = { nobody = \"1\" }, argv = [] }]\nvars",
                5,
                "tool.x.optional[0].when.nobody",
                "unknown",
            ),
            ("vars", "argv_below = { \"5\" = [] }\nvars", 5, "tool.x.argv_below.\"5\"", "no `version`"),
            ("vars", "version = { argv = [], regex = 'v' }\nvars", 5, "tool.x.version.regex", "one group"),
            (
                "vars",
                "version = { argv = [], regex = '(v)', min = \"a\" }\nvars",
                5,
                "tool.x.version.min",
                "is no version",
            ),
            (
                "vars",
                "progress = [{ phase = \"write\", start = 'a' }]\nvars",
                5,
                "tool.x.progress[0]",
                "either `regex`",
            ),
            ("vars", "stdio = \"tty\"\nvars", 5, "tool.x.stdio", "unknown variant `tty`, expected `pipe` or `pty`"),
            ("vars", "alive = ['']\nvars", 5, "tool.x.alive[0]", "every line"),
            ("[tool.x]", "[tool.x", 2, "", "unclosed table"),
        ];
        for (from, to, line, key, words) in cases {
            let (told_line, told_key, message) = error(from, to);
            assert!(message.contains(words), "{to}: {message}");
            assert_eq!((told_line, told_key.as_str()), (line, key), "{to}: {message}");
        }
    }

    #[test]
    fn a_tools_name_is_plain() {
        let error = errors(&GOOD.replace("tool.x", "tool.\"a b\"")).remove(0);
        assert_eq!((error.line, error.key.as_str()), (2, "tool.a b"));
    }

    #[test]
    fn all_errors_of_a_file_are_told_at_once() {
        let found = errors(&GOOD.replace("{baud}", "{bout}").replace("{tries}", "{trys}").replace("\"x\"", "\"\""));
        assert_eq!(found.iter().map(|error| error.line).collect::<Vec<_>>(), [3, 7, 7]);
    }
}
