//! What comes from outside as text for operators and servers.

/// At most so many characters of a text, control characters replaced.
pub fn plain_text(text: &str, max: usize) -> String {
    text.chars().take(max).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
