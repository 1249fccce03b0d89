//! What a tool printed, kept as evidence: its beginning and its end, cleaned for people, however much it was.
//!
//! Pure and bounded. Both streams come in as they were read, so that what stands together was printed together. Progress
//! that a tool writes over itself is kept as lines: what is cleaned away is only what a terminal would act on.

use std::collections::VecDeque;
use std::time::Duration;

use super::line;
use crate::device::ToolOutput;

/// Bytes kept of the beginning.
const HEAD: usize = 16 << 10;
/// Bytes kept of the end.
const TAIL: usize = 48 << 10;

/// One run's output.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    printed: u64,
}

impl Transcript {
    /// Bytes of either stream.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.printed += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(first);
        // Of a large block only its end can still be there afterwards.
        let rest = &rest[rest.len().saturating_sub(TAIL)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// All of it.
    pub(super) fn finish(mut self, took: Duration) -> ToolOutput {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let mut text = cleaned(&self.head);
        // Bytes that are no text take more room as what stands for them.
        text.truncate(text.floor_char_boundary(HEAD));
        if kept < self.printed {
            let left_out = self.printed - kept;
            text.push_str(&format!("\n[{left_out} bytes are left out here]\n"));
        }
        let tail = cleaned(self.tail.make_contiguous());
        text.push_str(&tail[tail.ceil_char_boundary(tail.len().saturating_sub(TAIL))..]);
        ToolOutput { text, printed: self.printed, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// Lines as text: no escapes, no control characters, a carriage return or backspaces end a line.
fn cleaned(bytes: &[u8]) -> String {
    let bytes = line::without_escapes(bytes);
    let mut text = String::new();
    for c in String::from_utf8_lossy(&bytes).chars() {
        match c {
            '\n' | '\r' | '\u{8}' if text.is_empty() || text.ends_with('\n') => {}
            '\n' | '\r' | '\u{8}' => text.push('\n'),
            '\t' => text.push('\t'),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(blocks: &[&[u8]]) -> ToolOutput {
        let mut transcript = Transcript::default();
        blocks.iter().for_each(|block| transcript.take(block));
        transcript.finish(Duration::from_millis(1234))
    }

    #[test]
    fn a_short_output_is_kept_as_it_was_but_for_what_a_terminal_would_act_on() {
        let output = transcript(&[
            b"\x1b[1mWriting\x1b[0m | ##",
            b"## | 100%\r\n\r\n",
            b"4096 (1 %)\x08\x08\x088192\n",
            b"\xff\x07ok",
        ]);
        assert_eq!(output.text, "Writing | #### | 100%\n4096 (1 %)\n8192\n\u{fffd}ok");
        assert_eq!((output.printed, output.took_ms), (55, 1234));
    }

    #[test]
    fn a_flood_leaves_its_beginning_and_its_end_and_says_what_is_missing() {
        let line: Vec<u8> = (0..1 << 20).map(|at| b'a' + (at % 26) as u8).collect();
        let mut transcript = Transcript::default();
        transcript.take(b"first\n");
        (0..200).for_each(|_| transcript.take(&line));
        transcript.take(b"\nlast");
        let output = transcript.finish(Duration::ZERO);
        assert!(output.text.starts_with("first\nabc") && output.text.ends_with("\nlast"));
        assert!(output.text.contains(" bytes are left out here]"));
        assert!(output.text.len() < HEAD + TAIL + 100);
        assert_eq!(output.printed, 200 * (1 << 20) + 11);
    }

    #[test]
    fn however_it_is_cut_into_blocks_it_is_the_same() {
        let all: Vec<u8> = (0..150_000_u32).map(|at| b'0' + (at % 10) as u8).collect();
        let whole = transcript(&[&all]);
        for size in [1, 7, 1000, 16 << 10, 60_000] {
            let blocks: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(transcript(&blocks), whole, "{size}");
        }
    }
}
