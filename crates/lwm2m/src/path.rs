//! Where something stands in the object tree: `/object/instance/resource/resource-instance`, or any shorter form.
//!
//! Not for URIs: an alternate root or a gateway's prefix is cut off before a path is made.

use std::fmt;
use std::str::FromStr;

/// Levels of the deepest path.
pub const MAX_LEVELS: usize = 4;

/// A path of zero (the root) to four numeric levels. Ordered like a tree: a parent before its children.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path {
    /// Levels beyond `depth` are zero, so that the derived order and equality hold.
    ids: [u16; MAX_LEVELS],
    depth: u8,
}

/// Why text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A level is not a decimal number in 0..=65535 without leading zeros.
    #[error("a path level is not a number in 0..=65535")]
    NotANumber,
    /// There are more than four levels.
    #[error("a path has at most four levels")]
    TooDeep,
    /// The text does not begin with a slash.
    #[error("a path begins with a slash")]
    NoSlash,
}

impl Path {
    /// `/`
    pub const ROOT: Path = Path { ids: [0; MAX_LEVELS], depth: 0 };

    /// A path of as many levels as ids are given; more than four do not compile.
    ///
    /// ```
    /// assert_eq!(lwm2m::path::Path::new([5, 0, 3]).to_string(), "/5/0/3");
    /// ```
    pub const fn new<const N: usize>(levels: [u16; N]) -> Self {
        const { assert!(N <= MAX_LEVELS, "a path has at most four levels") };
        let mut ids = [0; MAX_LEVELS];
        let mut level = 0;
        while level < N {
            ids[level] = levels[level];
            level += 1;
        }
        Path { ids, depth: N as u8 }
    }

    /// The path that Uri-Path options name; no segment is the root.
    ///
    /// # Errors
    /// A segment that is no number, or more than four of them.
    pub fn from_segments<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, PathError> {
        segments
            .into_iter()
            .try_fold(Path::ROOT, |path, segment| path.child(parse_level(segment.as_ref())?).ok_or(PathError::TooDeep))
    }

    /// The ids from the object down.
    pub fn levels(&self) -> &[u16] {
        &self.ids[..self.depth()]
    }

    /// How many levels there are: 0 the root, 1 an object, 2 an instance, 3 a resource, 4 a resource instance.
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// The object id; `None` for the root.
    pub fn object(&self) -> Option<u16> {
        self.level(0)
    }

    /// The object instance id.
    pub fn instance(&self) -> Option<u16> {
        self.level(1)
    }

    /// The resource id.
    pub fn resource(&self) -> Option<u16> {
        self.level(2)
    }

    /// The resource instance id.
    pub fn resource_instance(&self) -> Option<u16> {
        self.level(3)
    }

    /// Whether `prefix` is this path or one of its ancestors.
    pub fn starts_with(&self, prefix: Path) -> bool {
        self.levels().starts_with(prefix.levels())
    }

    /// The path one level below, `None` below a resource instance.
    #[must_use]
    pub fn child(mut self, id: u16) -> Option<Self> {
        *self.ids.get_mut(usize::from(self.depth))? = id;
        self.depth += 1;
        Some(self)
    }

    /// The path one level above, `None` above the root.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        self.depth().checked_sub(1).map(|depth| self.truncated(depth))
    }

    /// At most the first `depth` levels, e.g. the resource of a resource instance with 3.
    #[must_use]
    pub fn truncated(mut self, depth: usize) -> Self {
        if depth < self.depth() {
            self.ids[depth..].fill(0);
            self.depth = depth as u8;
        }
        self
    }

    fn level(&self, level: usize) -> Option<u16> {
        self.levels().get(level).copied()
    }
}

impl<const N: usize> From<[u16; N]> for Path {
    fn from(levels: [u16; N]) -> Self {
        Path::new(levels)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.depth == 0 {
            return f.write_str("/");
        }
        self.levels().iter().try_for_each(|id| write!(f, "/{id}"))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Path {
    type Err = PathError;

    /// Reads `/`, `/5`, `/5/0`, ... A slash at the end is refused.
    fn from_str(text: &str) -> Result<Self, PathError> {
        match text.strip_prefix('/') {
            None => Err(PathError::NoSlash),
            Some("") => Ok(Path::ROOT),
            Some(levels) => Path::from_segments(levels.split('/')),
        }
    }
}

fn parse_level(text: &str) -> Result<u16, PathError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if !digits || padded {
        return Err(PathError::NotANumber);
    }
    text.parse().map_err(|_| PathError::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_path_agree() {
        for (text, levels) in [("/", &[][..]), ("/5", &[5]), ("/5/0", &[5, 0]), ("/3/0/6/65535", &[3, 0, 6, 65535])] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.levels(), levels);
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["/05", "/5/", "//", "/+5", "/-1", "/65536", "/5/0/3/", "/a", "/5 ", "/99999999999999999999"] {
            assert_eq!(text.parse::<Path>(), Err(PathError::NotANumber), "{text:?}");
        }
        for text in ["", "5", "5/0"] {
            assert_eq!(text.parse::<Path>(), Err(PathError::NoSlash), "{text:?}");
        }
        assert_eq!("/1/2/3/4/5".parse::<Path>(), Err(PathError::TooDeep));
    }

    #[test]
    fn uri_path_segments_make_a_path() {
        assert_eq!(Path::from_segments(["5", "0", "0"]), Ok(Path::new([5, 0, 0])));
        assert_eq!(Path::from_segments([""; 0]), Ok(Path::ROOT));
        assert_eq!(Path::from_segments(["5", ""]), Err(PathError::NotANumber));
        assert_eq!(Path::from_segments(["dev0", "3303"]), Err(PathError::NotANumber));
    }

    #[test]
    fn levels_have_names() {
        let path = Path::new([3, 0, 6, 1]);
        assert_eq!((path.object(), path.instance()), (Some(3), Some(0)));
        assert_eq!((path.resource(), path.resource_instance()), (Some(6), Some(1)));
        assert_eq!(Path::new([3]).instance(), None);
        assert_eq!(Path::ROOT.object(), None);
    }

    #[test]
    fn paths_are_walked_up_and_down() {
        let path = Path::new([3, 0]);
        assert_eq!(path.child(6), Some(Path::new([3, 0, 6])));
        assert_eq!(Path::new([1, 2, 3, 4]).child(5), None);
        assert_eq!(path.parent(), Some(Path::new([3])));
        assert_eq!(Path::ROOT.parent(), None);
        assert_eq!(Path::new([1, 2, 3, 4]).truncated(2), Path::new([1, 2]));
        assert_eq!(path.truncated(4), path);
        assert!(path.starts_with(Path::ROOT) && path.starts_with(path) && path.starts_with(Path::new([3])));
        assert!(!path.starts_with(Path::new([3, 0, 0])) && !path.starts_with(Path::new([30])));
    }

    #[test]
    fn order_is_that_of_a_tree() {
        let paths = ["/", "/0/1", "/1", "/1/0", "/1/0/0", "/1/0/0/0", "/1/0/1", "/1/1", "/2"];
        let mut sorted: Vec<Path> = paths.iter().rev().map(|text| text.parse().unwrap()).collect();
        sorted.sort();
        assert_eq!(sorted.iter().map(Path::to_string).collect::<Vec<_>>(), paths);
    }
}
