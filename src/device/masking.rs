//! What no log, journal or output may show: credentials in URIs, and values of keys that sound like secrets.

/// Longest text that is kept, in characters: no URI that is taken anywhere is longer.
const LONGEST: usize = 2048;

/// Parts of keys whose values are nobody's business.
const SECRET: [&str; 7] = ["pass", "secret", "token", "key", "psk", "pwd", "credential"];

/// Whether a key sounds as if its value were a secret.
pub fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}

/// The URI with user, password and query hidden: a query may well be a signature that opens the store.
pub fn masked_uri(text: &str) -> String {
    let text: String = text.chars().take(LONGEST).filter(|c| !c.is_control()).collect();
    let (before, fragment) = text.split_once('#').map_or((text.as_str(), None), |(head, tail)| (head, Some(tail)));
    let (base, query) = before.split_once('?').map_or((before, None), |(head, tail)| (head, Some(tail)));
    let mut shown = without_userinfo(base);
    if query.is_some_and(|query| !query.is_empty()) {
        shown.push_str("?***");
    }
    if let Some(fragment) = fragment {
        shown.push('#');
        shown.push_str(fragment);
    }
    shown
}

fn without_userinfo(base: &str) -> String {
    let start = base.find("//").map_or(0, |at| at + 2);
    let end = base[start..].find('/').map_or(base.len(), |at| start + at);
    match base[start..end].rfind('@') {
        Some(at) => format!("{}***{}", &base[..start], &base[start + at..]),
        None => base.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked_uri;

    #[test]
    fn credentials_never_show() {
        assert_eq!(masked_uri("https://u:p@h.example/a?sig=s#version=1"), "https://***@h.example/a?***#version=1");
        assert_eq!(masked_uri("https://u:p@ss@h.example"), "https://***@h.example");
        assert_eq!(masked_uri("http://h.example/a@b"), "http://h.example/a@b");
        assert_eq!(masked_uri("u:p@h/x"), "***@h/x");
        assert_eq!(masked_uri("no uri"), "no uri");
    }
}
