//! What a person sees who made a mistake in the configuration: the exact text.

use std::path::Path;

use nuncio::config;

fn errors(text: &str) -> String {
    match config::parse(Path::new("nuncio.toml"), Some(text)) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_mistyped_key_is_underlined_and_the_right_one_named() {
    let text = "[[server]]\nname = \"a\"\nuri = \"coap://h\"\nshort_id = 1\nlifetme = \"30s\"\n";
    let expected = r#"nuncio.toml:5:1: server[0].lifetme: unknown key `lifetme`
  |
5 | lifetme = "30s"
  | ^^^^^^^
  hint: did you mean `lifetime`?"#;
    assert_eq!(errors(text), expected);
}

#[test]
fn several_mistakes_are_told_at_once_in_the_files_order() {
    let text = r#"[serial]
pol = "1s"
watch = "/dev/ttyX"
questions = "pasive"

[[server]]
name = "a"
uri = "coap://h"
short_id = 70000
lifetime = 30
"#;
    let expected = r#"nuncio.toml:2:1: serial.pol: unknown key `pol`
  |
2 | pol = "1s"
  | ^^^
  hint: did you mean `poll`?

nuncio.toml:3:9: serial.watch: expected a list, found the text "/dev/ttyX"
  |
3 | watch = "/dev/ttyX"
  |         ^^^^^^^^^^^
  hint: a list is written in brackets: ["/dev/ttyX"]

nuncio.toml:4:13: serial.questions: unknown value `pasive`
  |
4 | questions = "pasive"
  |             ^^^^^^^^
  hint: did you mean `passive`?

nuncio.toml:9:12: server[0].short_id: expected a whole number from 0 to 65535, found 70000
  |
9 | short_id = 70000
  |            ^^^^^

nuncio.toml:10:12: server[0].lifetime: expected text in quotes, found 30
   |
10 | lifetime = 30
   |            ^^
  hint: text is written in quotes, a duration with its unit: "30s""#;
    assert_eq!(errors(text), expected);
}

#[test]
fn what_must_be_unique_names_the_line_of_the_first() {
    let text = r#"[[server]]
name = "a"
uri = "coap://h"
short_id = 1
[[server]]
name = "b"
uri = "coap://h"
short_id = 1
"#;
    let expected = "nuncio.toml:8:12: server[1].short_id: short server id `1` is there already, in line 4
  |
8 | short_id = 1
  |            ^";
    assert_eq!(errors(text), expected);
}

#[test]
fn a_missing_key_is_told_at_its_entry() {
    let text = "[[device]]\nlink = \"tcp:h:1\"\n";
    let expected = "nuncio.toml:1:1: device[0].name: `name` is missing\n  |\n1 | [[device]]\n  | ^^^^^^^^^^";
    assert_eq!(errors(text), expected);
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    assert_eq!(
        errors("[gateway]\nname = \"pi\n"),
        "nuncio.toml:2:11: invalid basic string, expected `\"`\n  |\n2 | name = \"pi\n  |           ^"
    );
    assert!(errors("[gateway]\nname = \"a\"\nname = \"b\"\n").starts_with("nuncio.toml:3:1: duplicate key"));
}

#[test]
fn single_brackets_where_several_may_stand_are_explained() {
    let told = errors("[server]\nname = \"a\"\n");
    assert!(told.starts_with("nuncio.toml:1:1: server: there can be several of them: expected `[[server]]`"), "{told}");
}

#[test]
fn an_unknown_section_is_refused() {
    let told = errors("[sreial]\npoll = \"1s\"\n");
    assert!(told.contains("unknown section or key `sreial`"), "{told}");
    assert!(told.ends_with("hint: did you mean `serial`?"), "{told}");
}

/// Each line is one file and a part of what is said about it.
#[test]
fn values_out_of_range_or_form_are_refused() {
    let server = |line: &str| {
        let mut keys = vec!["name = \"a\"", "uri = \"coap://h:5683/rd\"", "short_id = 1"];
        let key = line.split(' ').next().unwrap_or_default();
        keys.retain(|other| !other.starts_with(key));
        format!("[[server]]\n{}\n{line}\n", keys.join("\n"))
    };
    let mqtt = |lines: &str| format!("[mqtt]\nenabled = true\nbroker = \"mqtt://h\"\n{lines}\n");
    let hook = |lines: &str| format!("[[hook]]\nname = \"a\"\n{lines}\n");
    let device = |line: &str| format!("[[device]]\nname = \"p\"\nlink = \"tcp:h:1\"\n{line}\n");
    let cases = [
        (server("short_id = 0"), "from 1 to 65534"),
        (server("short_id = 65535"), "from 1 to 65534"),
        (server("lifetime = \"1500ms\""), "whole seconds"),
        (server("lifetime = \"0s\""), "whole seconds"),
        (server("lifetime = \"30\""), "is no duration"),
        (server("binding = \"UQ\""), "only \"U\" (UDP) for now"),
        (server("uri = \"coaps://h\""), "DTLS (coaps) is not there yet"),
        (server("uri = \"http://h\""), "scheme `http` is not spoken here"),
        (server("uri = \"h:5683\""), "server[0].uri"),
        (server("uri = \"coap://\""), "expected coap://HOST[:PORT][/PATH]"),
        (server("uri = \"coap://h:0\""), "expected coap://HOST[:PORT][/PATH]"),
        (server("uri = \"coap://u:p@h\""), "neither a login"),
        (server("retry = \"10m\""), "longer than the longest"),
        (server("version = \"1.3\""), "expected one of: 1.0, 1.1, 1.2"),
        (server("firmware = \"all\""), "expected one of: own, any, none"),
        (server("name = \"\""), "expected a name"),
        (server("name = \"-x\""), "expected a name"),
        (device("endpoint = \"a\\u0007\""), "without control characters"),
        (device("probe = \"nevr\""), "did you mean `never`?"),
        (device("[[device]]\nname = \"p\"\nlink = \"tcp:h:2\""), "device `p` is there already, in line 2"),
        (device("[[device]]\nname = \"q\"\nlink = \"tcp:h:1\""), "link `tcp:h:1` is there already, in line 3"),
        ("[[device]]\nname = \"p\"\nlink = \"serial:ttyUSB0\"\n".into(), "expected serial:/dev/NAME"),
        ("[gateway]\nname = \"x y\"\n".into(), "letters, digits"),
        ("[gateway]\nstate = \"here\"\n".into(), "expected an absolute path"),
        ("[gateway]\nlog = \"loud=7\"\n".into(), "is no log filter"),
        (format!("[gateway]\nsocket = \"/{}\"\n", "x".repeat(120)), "too long for a socket"),
        ("[serial]\nwatch = [\"ttyUSB*\"]\n".into(), "serial.watch[0]: expected an absolute path"),
        ("[serial]\ndeny = [\"/dev/tty[\"]\n".into(), "serial.deny[0]: not a glob"),
        ("[serial]\npoll = \"0s\"\n".into(), "expected a duration from 50ms to 1h"),
        ("[download]\nallow = [\"ftp://x/\"]\n".into(), "expected an http or https URL"),
        ("[download]\nallow = [\"fw.example.org\"]\n".into(), "expected an http or https URL"),
        ("[download]\nmax_size = -1\n".into(), "a whole number that is not negative"),
        ("[download]\nca = [\"ca.pem\"]\n".into(), "expected an absolute path"),
        ("[update]\nafter_crash = \"finnish\"\n".into(), "did you mean `finish`?"),
        ("[executors]\nmine = 3\n".into(), "expected a tool's name"),
        ("[mqtt]\nenabled = true\n".into(), "mqtt.broker: `enabled` needs one"),
        ("[mqtt]\nbroker = \"http://h\"\n".into(), "scheme `http` is not spoken here"),
        ("[mqtt]\nbroker = \"mqtt://u:p@h\"\n".into(), "keys of their own"),
        (mqtt("password = \"p\""), "a password needs a user name"),
        (mqtt("username = \"u\"\npassword = \"p\"\npassword_file = \"f\""), "there is a `password` already"),
        (mqtt("prefix = \"a/#\""), "expected a topic without wildcards"),
        (mqtt("keep_alive = \"1s\""), "\"5s\" to \"65535s\""),
        (mqtt("ca = [\"ca.pem\"]"), "mqtt.ca[0]: expected an absolute path"),
        (hook("on = [\"update-provn\"]\nurl = \"http://h/\""), "did you mean `update-proven`?"),
        (hook("on = []\nurl = \"http://h/\""), "expected at least one event"),
        (hook("on = [\"registered\"]"), "expected a `url` or a `program`"),
        (hook("on = [\"registered\"]\nurl = \"ftp://h/\""), "expected an http or https URL"),
        (hook("on = [\"registered\"]\nprogram = [\"echo\"]"), "expected the program's absolute path"),
        (hook("on = [\"registered\"]\nprogram = \"/bin/echo a\""), "a list is written in brackets"),
        (hook("on = [\"registered\"]\nprogram = [\"/bin/true\"]\nsecret = \"s\""), "go with a `url` only"),
        (hook("on = [\"registered\"]\nurl = \"http://h/\"\nprogram = [\"/bin/true\"]"), "a hook does one of both"),
        (hook("on = [\"registered\"]\nurl = \"http://h/\"\ntimeout = \"2d\""), "expected a duration from 100ms to 1h"),
        ("serial = 5\n".into(), "expected a section `[serial]`, found a number"),
    ];
    for (text, expected) in cases {
        let told = errors(&text);
        assert!(told.contains(expected), "expected `{expected}` in:\n{told}\nof:\n{text}");
        assert!(told.contains("nuncio.toml:") && told.contains('^'), "not drawn:\n{told}");
    }
}

#[test]
fn not_more_errors_than_a_screen_holds_are_told() {
    let text: String = (0..100).map(|number| format!("[wrong{number}]\n")).collect();
    assert!(errors(&text).ends_with("and 80 more"));
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let told = config::load(Some(Path::new("/nonexistent/nuncio.toml"))).expect_err("not there").to_string();
    assert!(told.starts_with("/nonexistent/nuncio.toml: cannot read the configuration"), "{told}");
}

#[test]
fn disks_are_looked_for_by_whole_paths_and_their_name_is_taken() {
    let text = r#"[disk]
paths = ["/media/*/*", "media/*"]

[[discovery]]
name = "disk"
program = ["/usr/bin/discovery"]
"#;
    let expected = r#"nuncio.toml:2:24: disk.paths[1]: `media/*` is no absolute path: expected e.g. "/dev/ttyUSB*" or "/media/*/*"
  |
2 | paths = ["/media/*/*", "media/*"]
  |                        ^^^^^^^^^

nuncio.toml:5:8: discovery[0].name: the gateway's own [disk] has this name
  |
5 | name = "disk"
  |        ^^^^^^"#;
    assert_eq!(errors(text), expected);
}

#[test]
fn the_built_in_server_is_one_of_the_servers_and_must_fit_among_them() {
    let server = "[[server]]\nname = \"builtin\"\nuri = \"coap://h\"\nshort_id = 7\n";
    let text = format!("{server}[builtin_server]\nenabled = true\nshort_id = 7\nport = 0\ndrop = \"here\"\n");
    let expected = r#"nuncio.toml:5:1: builtin_server.name: server `builtin` is there already, in line 2
  |
5 | [builtin_server]
  | ^^^^^^^^^^^^^^^^
  hint: give one of them another name

nuncio.toml:7:12: builtin_server.short_id: a [[server]] has this short server id
  |
7 | short_id = 7
  |            ^

nuncio.toml:8:8: builtin_server.port: expected a port from 1 to 65535
  |
8 | port = 0
  |        ^

nuncio.toml:9:8: builtin_server.drop: expected an absolute path
  |
9 | drop = "here"
  |        ^^^^^^"#;
    assert_eq!(errors(&text), expected);
    let parse = |text: &str| config::parse(Path::new("nuncio.toml"), Some(text)).expect("valid");
    assert_eq!(parse(server).servers.len(), 1, "it is off by default");
    let config =
        parse("[[server]]\nname = \"a\"\nuri = \"coap://h\"\nshort_id = 65534\n[builtin_server]\nenabled = true\n");
    let own = config.servers.last().expect("the built-in one");
    assert_eq!((own.name.as_str(), own.uri.as_str(), own.short_id), ("builtin", "coap://127.0.0.1:5693", 65533));
    assert_eq!(config.builtin_server.drop.as_deref(), Some(Path::new("/var/lib/nuncio/drop")));
}
