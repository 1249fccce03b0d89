//! Names of users and groups, for messages that tell an operator which command helps.

/// The name of a group, or its number.
pub fn group_name(gid: u32) -> String {
    name_in("/etc/group", gid)
}

/// The name of a user, or its number.
pub fn user_name(uid: u32) -> String {
    name_in("/etc/passwd", uid)
}

/// Both files begin `NAME:PASSWORD:ID`.
fn name_in(file: &str, id: u32) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_a_stranger_keeps_his_number() {
        assert_eq!((user_name(0).as_str(), group_name(0).as_str()), ("root", "root"));
        assert_eq!(user_name(3_999_999_999), "3999999999");
    }
}
