//! Maintenance windows: when flashes may begin, by the wall clock of the gateway's time zone.
//!
//! Written `22:00-05:00`, `Sat 10:00-14:00` or `Mon-Fri 22:00-05:00`; a window that ends before it begins ends on the next
//! day, and its days are those on which it begins. The local clock counts, also where it jumps.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// One window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins, Monday first.
    days: [bool; 7],
    from: Time,
    to: Time,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no window: {why}; expected e.g. \"22:00-05:00\", \"Sat 10:00-14:00\" or \"Mon-Fri 22:00-05:00\"")]
pub struct WindowError {
    text: String,
    why: &'static str,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| WindowError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Window, &'static str> {
    let (days, times) = match text.trim().rsplit_once(' ') {
        Some((days, times)) => (days_of(days.trim())?, times),
        None => ([true; 7], text.trim()),
    };
    let (from, to) = times.split_once('-').ok_or("its times have no `-` between them")?;
    let (from, to) = (time(from)?, time(to)?);
    if from == to {
        return Err("it begins when it ends");
    }
    Ok(Window { days, from, to })
}

fn time(text: &str) -> Result<Time, &'static str> {
    let wrong = "a time is written HH:MM, from 00:00 to 23:59";
    let (hour, minute) = text.trim().split_once(':').ok_or(wrong)?;
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() == 2 && text.is_ascii()).ok_or(wrong);
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong)
}

fn days_of(text: &str) -> Result<[bool; 7], &'static str> {
    let day = |name: &str| DAYS.iter().position(|(known, _)| *known == name).ok_or("a day is Mon, Tue, .. or Sun");
    let mut days = [false; 7];
    match text.split_once('-') {
        Some((first, last)) => {
            let (mut at, last) = (day(first)?, day(last)?);
            days[last] = true;
            while at != last {
                days[at] = true;
                at = (at + 1) % 7;
            }
        }
        None => days[day(text)?] = true,
    }
    Ok(days)
}

impl Window {
    fn is_open(&self, now: DateTime) -> bool {
        let time = now.time();
        let begins_on = |weekday: Weekday| self.days[weekday.to_monday_zero_offset().unsigned_abs() as usize];
        let today = begins_on(now.weekday());
        match self.from < self.to {
            true => today && (self.from..self.to).contains(&time),
            false => (today && time >= self.from) || (begins_on(now.weekday().previous()) && time < self.to),
        }
    }

    /// The next time that it opens after `now`.
    fn opens(&self, now: DateTime) -> Option<DateTime> {
        let starts =
            (0..=7).filter_map(|days| now.date().checked_add(days.days()).ok()).map(|date| date.to_datetime(self.from));
        starts
            .filter(|start| *start > now && self.days[start.weekday().to_monday_zero_offset().unsigned_abs() as usize])
            .min()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != [true; 7] {
            let names = DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|((name, _), _)| *name);
            write!(f, "{} ", names.collect::<Vec<_>>().join(","))?;
        }
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

impl<'de> serde::Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why nothing may begin just now: no window is open. `None` where one is, or there are none.
pub(super) fn closed(windows: &[Window], zone: &TimeZone, unix: i64) -> Option<String> {
    let now = Timestamp::from_second(unix).ok()?.to_zoned(zone.clone()).datetime();
    if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
        return None;
    }
    let opens = windows.iter().filter_map(|window| window.opens(now)).min();
    let opens = opens.map_or_else(String::new, |at| format!(", which opens {}", at.strftime("%a %H:%M")));
    Some(format!("outside the maintenance window (`[update] window`){opens}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// 2026-11-26 is a Thursday.
    fn at(day: i8, hour: i8, minute: i8) -> DateTime {
        jiff::civil::date(2026, 11, day).at(hour, minute, 0, 0)
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        let day = window("10:00-14:00");
        assert!(day.is_open(at(26, 10, 0)) && day.is_open(at(26, 13, 59)));
        assert!(!day.is_open(at(26, 9, 59)) && !day.is_open(at(26, 14, 0)));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = window("Thu 22:00-05:00");
        assert!(night.is_open(at(26, 22, 0)) && night.is_open(at(27, 4, 59)));
        assert!(!night.is_open(at(26, 4, 0)), "that was Wednesday's night");
        assert!(!night.is_open(at(27, 22, 0)) && !night.is_open(at(27, 5, 0)));
    }

    #[test]
    fn days_may_be_a_span_also_over_the_week_s_end() {
        let working = window("Mon-Fri 08:00-09:00");
        assert!(working.is_open(at(27, 8, 30)) && !working.is_open(at(28, 8, 30)));
        let weekend = window("Sat-Mon 08:00-09:00");
        assert!([28, 29, 30].into_iter().all(|day| weekend.is_open(at(day, 8, 30))));
        assert!(!weekend.is_open(at(27, 8, 30)));
    }

    #[test]
    fn who_has_to_wait_is_told_until_when() {
        let zone = TimeZone::UTC;
        let unix = at(26, 12, 0).to_zoned(zone.clone()).expect("a time").timestamp().as_second();
        let windows = [window("Sat 10:00-14:00"), window("Fri 22:00-05:00")];
        let reason = closed(&windows, &zone, unix).expect("closed");
        assert!(reason.ends_with("which opens Fri 22:00"), "{reason}");
        assert_eq!(closed(&[], &zone, unix), None);
        assert_eq!(closed(&[window("11:00-13:00")], &zone, unix), None);
        let later = closed(&[window("11:00-11:30")], &zone, unix).expect("closed");
        assert!(later.ends_with("which opens Fri 11:00"), "{later}");
    }

    #[test]
    fn the_local_clock_counts_also_in_the_night_when_it_jumps() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let night = [window("02:00-03:00")];
        // On 2026-03-29 there is no 02:30: the clock goes from 02:00 to 03:00 at 01:00 UTC.
        let jump = Timestamp::from_second(1_774_746_000).expect("a time");
        assert_eq!(jump.to_string(), "2026-03-29T01:00:00Z");
        assert!(closed(&night, &zone, jump.as_second()).is_some());
        assert!(closed(&night, &zone, jump.as_second() - 1).is_some());
        // On 2026-10-25 it is 02:30 twice.
        let twice = Timestamp::from_second(1_792_888_200).expect("a time");
        assert_eq!(twice.to_string(), "2026-10-25T00:30:00Z");
        assert_eq!(closed(&night, &zone, twice.as_second()), None);
        assert_eq!(closed(&night, &zone, twice.as_second() + 3600), None);
    }

    #[test]
    fn what_is_no_window_is_refused_with_the_reason() {
        for text in [
            "",
            "22:00",
            "22:00-22:00",
            "24:00-01:00",
            "1:00-2:00",
            "Someday 10:00-11:00",
            "Mon-Foo 10:00-11:00",
            "10:60-11:00",
        ] {
            let error = text.parse::<Window>().expect_err(text);
            assert!(error.to_string().contains("expected e.g."), "{error}");
        }
        assert_eq!(window("Mon-Tue 10:00-11:00").to_string(), "Mon,Tue 10:00-11:00");
    }
}
