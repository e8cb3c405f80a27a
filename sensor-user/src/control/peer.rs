//! Names of users and groups, from the machine's own files.
//!
//! Not from the name service: that may ask a directory server over the very network this sensor guards, and wait.

use std::fs;

/// The account's name, or `uid N`.
pub fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&passwd, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// The group's number, if there is such a group.
pub fn group_id(name: &str) -> Option<u32> {
    number_of(&fs::read_to_string("/etc/group").unwrap_or_default(), name)
}

/// Lines are `name:password:number:...`, in both files.
fn entries(file: &str) -> impl Iterator<Item = (&str, u32)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

fn name_of(file: &str, number: u32) -> Option<&str> {
    entries(file).find(|entry| entry.1 == number).map(|entry| entry.0)
}

fn number_of(file: &str, name: &str) -> Option<u32> {
    entries(file).find(|entry| entry.0 == name).map(|entry| entry.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "root:x:0:0:root:/root:/bin/bash\n\n# no\nbroken\n:x:5:\nodd:x:many:\nsekisho:x:998:tanaka,sato\n";

    #[test]
    fn accounts_are_found() {
        assert_eq!(name_of(FILE, 0), Some("root"));
        assert_eq!(name_of(FILE, 998), Some("sekisho"));
        assert_eq!(name_of(FILE, 5), None);
        assert_eq!(number_of(FILE, "sekisho"), Some(998));
        assert_eq!(number_of(FILE, "odd"), None);
    }

    #[test]
    fn an_account_without_a_name_has_its_number() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "uid 4000000000");
    }
}
