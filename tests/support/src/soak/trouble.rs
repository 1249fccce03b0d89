//! Warnings and errors in the daemon's log, and whether somebody caused them.

use std::collections::BTreeMap;

use super::record::Event;

/// Warnings or errors of one kind.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) level: String,
    /// Where it comes from, and what it says, without values.
    pub(super) message: String,
    pub(super) caused: u64,
    pub(super) uncaused: u64,
    pub(super) why: Option<&'static str>,
    /// The last uncaused line, or the last one.
    pub(super) example: String,
}

/// What the world may cause.
struct Cause {
    /// Words of the message.
    message: &'static str,
    /// Kinds of events that cause it, of the device that the line names.
    events: &'static [&'static str],
    /// At most so many seconds before.
    within: f64,
    why: &'static str,
}

/// All there are. Whatever is not here nobody causes.
const CAUSES: &[Cause] = &[];

/// All warnings and errors by kind.
pub(super) fn all(log: &str, events: &[Event]) -> Vec<Trouble> {
    judged(log, events, CAUSES)
}

fn judged(log: &str, events: &[Event], causes: &[Cause]) -> Vec<Trouble> {
    let mut kinds: BTreeMap<(String, String), Trouble> = BTreeMap::new();
    for line in log.lines() {
        let Some((at, level, rest)) = parts(line) else { continue };
        let message = bare(rest);
        let cause = causes.iter().find(|cause| is_caused(cause, at, rest, events));
        let kind = kinds.entry((level.to_owned(), message.clone())).or_insert_with(|| Trouble {
            level: level.to_owned(),
            message,
            caused: 0,
            uncaused: 0,
            why: None,
            example: String::new(),
        });
        if let Some(cause) = cause {
            kind.caused += 1;
            kind.why = Some(cause.why);
        } else {
            kind.uncaused += 1;
            line.clone_into(&mut kind.example);
        }
    }
    kinds.into_values().collect()
}

fn is_caused(cause: &Cause, at: f64, rest: &str, events: &[Event]) -> bool {
    rest.contains(cause.message)
        && events.iter().any(|event| {
            cause.events.contains(&&*event.kind)
                && (0.0..=cause.within).contains(&(at - event.at))
                && rest.contains(&event.subject)
        })
}

/// Time, level and the rest of a warning or an error.
fn parts(line: &str) -> Option<(f64, &str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, rest) = rest.trim_start().split_once(' ')?;
    matches!(level, "WARN" | "ERROR").then_some(())?;
    Some((seconds(time)?, level, rest))
}

/// Seconds since 1970 of `2026-11-27T06:06:04.300888Z`.
fn seconds(time: &str) -> Option<f64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Years that begin in March: the leap day is their last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

/// A line without what differs from one to the next: spans, values of fields, and numbers.
fn bare(rest: &str) -> String {
    let mut text = String::new();
    let mut quoted = false;
    let after_spans = rest.find("nuncio::").unwrap_or_default();
    for word in rest[after_spans..].split(' ') {
        let begins_quoted = quoted;
        if word.matches('"').count() % 2 == 1 {
            quoted = !quoted;
        }
        if begins_quoted {
            continue;
        }
        let word = word.split_once('=').map_or(word, |(key, _)| key);
        let word = if word.chars().any(|char| char.is_ascii_digit()) { "#" } else { word };
        text.push_str(word);
        text.push(' ');
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read() {
        assert_eq!(seconds("1970-01-01T00:00:00.000000Z"), Some(0.0));
        assert_eq!(seconds("2026-11-30T18:40:00.500000Z"), Some(1_796_064_000.5));
        assert_eq!(seconds("2024-02-29T00:00:00Z"), Some(1_709_164_800.0));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn lines_that_differ_in_values_are_of_one_kind_and_nobody_caused_them() {
        let log = "2026-11-30T18:40:00.000000Z  WARN nuncio::one: it fails device=mac-02 error=\"no such thing\" n=1\n\
                   2026-11-30T18:40:01.000000Z  INFO nuncio::one: it goes on\n\
                   2026-11-30T18:40:02.000000Z  WARN device{name=mac-03}: nuncio::one: it fails device=mac-03 error=\"nothing of it\" n=2\n";
        let all = all(log, &[]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].caused, all[0].uncaused), (0, 2));
        assert_eq!(all[0].message, "nuncio::one: it fails device error n");
    }
    #[test]
    fn a_cause_counts_for_its_own_device_and_for_a_while_only() {
        let causes = [Cause { message: "it fails", events: &["lost"], within: 130.0, why: "power" }];
        let line = |time: &str, device: &str| {
            format!("2026-11-30T{time}.000000Z  WARN nuncio::one: it fails device={device}\n")
        };
        let log = line("18:41:00", "mac-02") + &line("18:41:00", "mac-03") + &line("18:43:00", "mac-02");
        let lost =
            Event { at: 1_796_064_000.0, kind: "lost".to_owned(), subject: "mac-02".to_owned(), detail: String::new() };
        let all = judged(&log, &[lost], &causes);
        assert_eq!((all.len(), all[0].caused, all[0].uncaused, all[0].why), (1, 1, 2, Some("power")));
    }
}
