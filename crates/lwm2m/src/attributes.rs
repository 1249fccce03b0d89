//! Notification attributes: what a Write-Attributes sets, how levels inherit, what Discover shows.
//!
//! Not for when a notification is due: reporting asks here for the effective values and decides.

use crate::format::parse_decimal;
use crate::link::LinkValue;
use crate::path::Path;
use crate::value::Kind;

/// The attributes set at one level, or the effective ones after [`Attributes::or`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Attributes {
    /// Least time between two notifications, in seconds.
    pub pmin: Option<u32>,
    /// Most time between two notifications, in seconds.
    pub pmax: Option<u32>,
    /// Notify when the value crosses this threshold (upper one).
    pub gt: Option<f64>,
    /// Notify when the value crosses this threshold (lower one).
    pub lt: Option<f64>,
    /// Notify when the value differs by at least this from the last one sent.
    pub st: Option<f64>,
}

/// What one Write-Attributes changes: outer `None` leaves an attribute, `Some(None)` unsets it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttributeChange {
    /// Change of `pmin`.
    pub pmin: Option<Option<u32>>,
    /// Change of `pmax`.
    pub pmax: Option<Option<u32>>,
    /// Change of `gt`.
    pub gt: Option<Option<f64>>,
    /// Change of `lt`.
    pub lt: Option<Option<f64>>,
    /// Change of `st`.
    pub st: Option<Option<f64>>,
}

/// Why a Write-Attributes is refused; all of them are 4.00 on the wire (decisions.md §3).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AttributeError {
    /// An attribute that is not supported.
    #[error("attribute `{0}` is unknown")]
    Unknown(String),
    /// The same attribute twice.
    #[error("attribute `{0}` is given twice")]
    Twice(&'static str),
    /// A value that is no number of the attribute's kind.
    #[error("attribute `{0}` has a bad value")]
    BadValue(&'static str),
    /// `gt`, `lt` or `st` on anything but a numeric resource or its instance.
    #[error("attribute `{0}` needs a numeric resource")]
    NotNumeric(&'static str),
    /// `lt` must lie below `gt`, and `lt + 2 * st` too.
    #[error("attributes contradict each other: lt + 2 * st must be less than gt")]
    Contradiction,
}

impl AttributeChange {
    /// Reads the Uri-Query options of a Write-Attributes: `pmin=5` sets, `pmin` alone unsets.
    ///
    /// # Errors
    /// Unknown or repeated attributes and values that are no numbers.
    pub fn from_query<S: AsRef<str>>(query: impl IntoIterator<Item = S>) -> Result<Self, AttributeError> {
        let mut change = AttributeChange::default();
        for option in query {
            change.read(option.as_ref())?;
        }
        Ok(change)
    }

    fn read(&mut self, option: &str) -> Result<(), AttributeError> {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        match name {
            PMIN => read_into(&mut self.pmin, PMIN, value, parse_seconds),
            PMAX => read_into(&mut self.pmax, PMAX, value, parse_seconds),
            GT => read_into(&mut self.gt, GT, value, parse_decimal),
            LT => read_into(&mut self.lt, LT, value, parse_decimal),
            ST => read_into(&mut self.st, ST, value, |text| parse_decimal(text).filter(|step| *step >= 0.0)),
            _ => Err(AttributeError::Unknown(name.chars().take(MAX_NAME_SHOWN).collect())),
        }
    }

    /// The attributes of the level at `path` after this change; `kind` is the type of the resource there, if it is one.
    ///
    /// # Errors
    /// An attribute that this level cannot have, or a result that contradicts itself; nothing is changed then.
    pub fn apply(self, current: Attributes, path: Path, kind: Option<Kind>) -> Result<Attributes, AttributeError> {
        self.check_level(path, kind)?;
        let after = Attributes {
            pmin: self.pmin.unwrap_or(current.pmin),
            pmax: self.pmax.unwrap_or(current.pmax),
            gt: self.gt.unwrap_or(current.gt),
            lt: self.lt.unwrap_or(current.lt),
            st: self.st.unwrap_or(current.st),
        };
        after.check()?;
        Ok(after)
    }

    /// Thresholds belong to numbers; unsetting one does no harm anywhere.
    fn check_level(&self, path: Path, kind: Option<Kind>) -> Result<(), AttributeError> {
        let numeric = path.resource().is_some() && kind.is_some_and(Kind::is_numeric);
        let set =
            [(GT, self.gt), (LT, self.lt), (ST, self.st)].into_iter().find(|(_, change)| change.flatten().is_some());
        match set {
            Some((name, _)) if !numeric => Err(AttributeError::NotNumeric(name)),
            _ => Ok(()),
        }
    }
}

const PMIN: &str = "pmin";
const PMAX: &str = "pmax";
const GT: &str = "gt";
const LT: &str = "lt";
const ST: &str = "st";

/// How much of an unknown name an error repeats, in characters.
const MAX_NAME_SHOWN: usize = 32;

fn read_into<T>(
    slot: &mut Option<Option<T>>,
    name: &'static str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), AttributeError> {
    let parsed = value.map(|text| parse(text).ok_or(AttributeError::BadValue(name))).transpose()?;
    match slot.replace(parsed) {
        None => Ok(()),
        Some(_) => Err(AttributeError::Twice(name)),
    }
}

fn parse_seconds(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Attributes {
    /// No attribute at all.
    pub const NONE: Attributes = Attributes { pmin: None, pmax: None, gt: None, lt: None, st: None };

    /// These attributes, and where one is missing the one of the next higher level (resource instance, resource,
    /// instance, object, then 1/x/2 and 1/x/3).
    #[must_use]
    pub fn or(self, higher: Attributes) -> Attributes {
        Attributes {
            pmin: self.pmin.or(higher.pmin),
            pmax: self.pmax.or(higher.pmax),
            gt: self.gt.or(higher.gt),
            lt: self.lt.or(higher.lt),
            st: self.st.or(higher.st),
        }
    }

    /// `pmax` where it counts: 0, or one below `pmin`, is as good as none.
    pub fn effective_pmax(&self) -> Option<u32> {
        self.pmax.filter(|pmax| *pmax > 0 && *pmax >= self.pmin.unwrap_or(0))
    }

    /// Name and value of what is set, in the order of Discover.
    pub fn link_attributes(&self) -> Vec<(&'static str, LinkValue)> {
        let texts = [
            (PMIN, self.pmin.map(|seconds| seconds.to_string())),
            (PMAX, self.pmax.map(|seconds| seconds.to_string())),
            (GT, self.gt.map(|number| number.to_string())),
            (LT, self.lt.map(|number| number.to_string())),
            (ST, self.st.map(|number| number.to_string())),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name, LinkValue::Token(text?)))).collect()
    }

    /// `lt < gt`, and `lt + 2 * st < gt` (lwm2m.md 5.5), as far as they are set.
    fn check(&self) -> Result<(), AttributeError> {
        let (Some(gt), Some(lt)) = (self.gt, self.lt) else { return Ok(()) };
        let lowest = lt + 2.0 * self.st.unwrap_or(0.0);
        if lowest < gt { Ok(()) } else { Err(AttributeError::Contradiction) }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPERATURE: Path = Path::new([3303, 0, 5700]);

    fn write(current: Attributes, query: &[&str]) -> Result<Attributes, AttributeError> {
        AttributeChange::from_query(query)?.apply(current, TEMPERATURE, Some(Kind::Float))
    }

    #[test]
    fn attributes_are_set_and_unset() {
        let set = write(Attributes::NONE, &["pmin=5", "pmax=60", "gt=30", "lt=-1.5", "st=0.5"]).unwrap();
        let all = Attributes { pmin: Some(5), pmax: Some(60), gt: Some(30.0), lt: Some(-1.5), st: Some(0.5) };
        assert_eq!(set, all);
        let less = write(set, &["pmax", "gt", "pmin=0"]).unwrap();
        assert_eq!(less, Attributes { pmin: Some(0), pmax: None, gt: None, ..all });
        assert_eq!(write(set, &[]), Ok(set));
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        assert_eq!(write(Attributes::NONE, &["foo=1"]), Err(AttributeError::Unknown("foo".into())));
        assert_eq!(write(Attributes::NONE, &[""]), Err(AttributeError::Unknown(String::new())));
        assert_eq!(write(Attributes::NONE, &["pmin=1", "pmin"]), Err(AttributeError::Twice("pmin")));
        for value in ["-1", "+1", "1.5", "", "x", "4294967296"] {
            assert_eq!(write(Attributes::NONE, &[&format!("pmin={value}")]), Err(AttributeError::BadValue("pmin")));
        }
        for value in ["", "nan", "inf", "1e999", "0x1"] {
            assert_eq!(write(Attributes::NONE, &[&format!("gt={value}")]), Err(AttributeError::BadValue("gt")));
        }
        assert_eq!(write(Attributes::NONE, &["st=-1"]), Err(AttributeError::BadValue("st")));
    }

    #[test]
    fn thresholds_must_leave_room() {
        for query in [&["lt=5", "gt=5"][..], &["lt=6", "gt=5"], &["lt=1", "gt=5", "st=2"], &["lt=1", "gt=5", "st=3"]] {
            assert_eq!(write(Attributes::NONE, query), Err(AttributeError::Contradiction), "{query:?}");
        }
        let room = write(Attributes::NONE, &["lt=1", "gt=5", "st=1.9"]).unwrap();
        assert_eq!(write(room, &["st=2"]), Err(AttributeError::Contradiction), "with what is set already");
        assert!(write(room, &["st=2", "gt"]).is_ok());
    }

    #[test]
    fn thresholds_are_for_numeric_resources() {
        let change = AttributeChange::from_query(["gt=1"]).unwrap();
        let refused = Err(AttributeError::NotNumeric("gt"));
        assert_eq!(change.apply(Attributes::NONE, Path::new([3303, 0]), None), refused);
        assert_eq!(change.apply(Attributes::NONE, Path::new([5, 0, 1]), Some(Kind::String)), refused);
        assert!(change.apply(Attributes::NONE, Path::new([3, 0, 7, 0]), Some(Kind::Integer)).is_ok());
        let unset = AttributeChange::from_query(["gt", "pmin=1"]).unwrap();
        assert!(unset.apply(Attributes::NONE, Path::new([3303, 0]), None).is_ok());
    }

    #[test]
    fn lower_levels_win_one_by_one() {
        let resource = Attributes { pmax: Some(60), ..Attributes::NONE };
        let instance = Attributes { pmin: Some(5), pmax: Some(100), ..Attributes::NONE };
        let server = Attributes { pmin: Some(1), ..Attributes::NONE };
        let effective = resource.or(instance).or(server);
        assert_eq!(effective, Attributes { pmin: Some(5), pmax: Some(60), ..Attributes::NONE });
    }

    #[test]
    fn a_pmax_without_meaning_does_not_count() {
        let pmax = |pmin, pmax| Attributes { pmin, pmax, ..Attributes::NONE }.effective_pmax();
        assert_eq!(pmax(None, Some(0)), None);
        assert_eq!(pmax(Some(10), Some(5)), None);
        assert_eq!(pmax(Some(10), Some(10)), Some(10));
        assert_eq!(pmax(None, Some(1)), Some(1));
    }

    #[test]
    fn discover_shows_them_in_order() {
        let all = Attributes { pmin: Some(5), pmax: Some(60), gt: Some(30.0), lt: Some(-1.5), st: Some(0.5) };
        let link = all
            .link_attributes()
            .into_iter()
            .fold(crate::link::Link::new(TEMPERATURE), |link, (name, value)| link.with(name, value));
        assert_eq!(crate::link::write(&[link]), "</3303/0/5700>;pmin=5;pmax=60;gt=30;lt=-1.5;st=0.5");
        assert!(Attributes::NONE.link_attributes().is_empty() && Attributes::NONE.is_empty());
    }
}
