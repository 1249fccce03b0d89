//! One line of a tool's output, made fit for people: no escapes, no control characters, bounded.

/// Longest line that is told, in bytes.
pub(super) const MAX_LINE: usize = 512;

/// Begins a sequence that a terminal obeys.
pub(super) const ESCAPE: u8 = 0x1b;

/// The line as text: escape sequences dropped, control characters and runs of blanks made one blank, trimmed.
pub(super) fn clean(line: &[u8]) -> String {
    let stripped = without_escapes(line);
    let mut text = String::new();
    for c in String::from_utf8_lossy(&stripped).chars() {
        let c = if c.is_control() || c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (text.is_empty() || text.ends_with(' ')) {
            continue;
        }
        if text.len() + c.len_utf8() > MAX_LINE {
            break;
        }
        text.push(c);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Drops CSI (`ESC [ .. final`) and OSC (`ESC ] .. BEL` or `ESC \`) sequences, and other two-byte escapes. One that is not
/// finished ends with its line.
pub(super) fn without_escapes(text: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.iter().position(|&byte| byte == ESCAPE) {
        kept.extend_from_slice(&rest[..at]);
        rest = behind_escape(&rest[at + 1..]);
    }
    kept.extend_from_slice(rest);
    kept
}

/// What follows a sequence whose first byte was taken.
fn behind_escape(rest: &[u8]) -> &[u8] {
    let (introducer, mut rest) = match rest {
        [b'\n' | b'\r', ..] | [] => return rest,
        [introducer, rest @ ..] => (*introducer, rest),
    };
    if !matches!(introducer, b'[' | b']') {
        return rest;
    }
    while let [byte, behind @ ..] = rest {
        match (introducer, byte) {
            (_, b'\n' | b'\r') => return rest,
            (b'[', 0x40..=0x7e) | (b']', 0x07) => return behind,
            (b']', &ESCAPE) if behind.first() == Some(&b'\\') => return &behind[1..],
            _ => rest = behind,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_control_characters_vanish() {
        assert_eq!(clean(b"\x1b[2K\x1b[31;1merror:\x1b[0m \t bad\x07 \xff\x00thing  "), "error: bad \u{fffd} thing");
        assert_eq!(clean(b"\x1b]0;title\x07a\x1b]0;t\x1b\\b\x1b"), "ab");
        assert_eq!(clean(b" \x1b["), "");
        assert_eq!(without_escapes(b"a\x1b[3\nb\x1b]0;t\rc\x1b\nd\x1b]x\x1by\x07e"), b"a\nb\rc\nde");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "ü".repeat(400);
        assert_eq!(clean(line.as_bytes()), "ü".repeat(256));
    }
}
