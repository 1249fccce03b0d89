//! One line of a tool's output, made fit for people: no escapes, no control characters, bounded.

/// Longest line that is told, in bytes.
pub(super) const MAX_LINE: usize = 512;

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

/// Drops CSI (`ESC [ .. final`) and OSC (`ESC ] .. BEL` or `ESC \`) sequences, and other two-byte escapes.
pub(super) fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != 0x1b {
            kept.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'[') => while bytes.next().is_some_and(|byte| !(0x40..=0x7e).contains(&byte)) {},
            Some(b']') => {
                while let Some(byte) = bytes.next() {
                    if byte == 0x07 || (byte == 0x1b && bytes.next_if_eq(&b'\\').is_some()) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_control_characters_vanish() {
        assert_eq!(clean(b"\x1b[2K\x1b[31;1merror:\x1b[0m \t bad\x07 \xff\x00thing  "), "error: bad \u{fffd} thing");
        assert_eq!(clean(b"\x1b]0;title\x07a\x1b]0;t\x1b\\b\x1b"), "ab");
        assert_eq!(clean(b" \x1b["), "");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "ü".repeat(400);
        assert_eq!(clean(line.as_bytes()), "ü".repeat(256));
    }
}
