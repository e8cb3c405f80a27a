//! Makers by the first three bytes of a MAC address: the IEEE's list as Debian's package ieee-data installs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the package puts it.
pub const DEFAULT_PATH: &str = "/usr/share/ieee-data/oui.txt";

/// Reads the list. Without it devices are shown without a maker, which a warning tells.
pub fn load(path: &Path) -> BTreeMap<u32, String> {
    match fs::read(path) {
        Ok(bytes) => {
            let makers = parse(&String::from_utf8_lossy(&bytes));
            if makers.is_empty() {
                log::warn!(
                    "{} names no maker; devices are shown without one (is it oui.txt of ieee-data?)",
                    path.display()
                );
            }
            makers
        }
        Err(error) => {
            log::warn!(
                "cannot read {}: {error}; devices are shown without their maker (apt-get install ieee-data)",
                path.display()
            );
            BTreeMap::new()
        }
    }
}

/// Reads lines like `28-6F-B9   (hex)\t\tNokia Shanghai Bell Co., Ltd.`; all others are addresses and headings.
fn parse(text: &str) -> BTreeMap<u32, String> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(u32, String)> {
    let (oui, maker) = line.split_once("(hex)")?;
    let mut parts = oui.trim().split('-');
    let mut number = 0;
    for _ in 0..3 {
        let part = parts.next().filter(|p| p.len() == 2)?;
        number = number << 8 | u32::from(u8::from_str_radix(part, 16).ok()?);
    }
    let maker = maker.trim();
    (parts.next().is_none() && !maker.is_empty()).then(|| (number, maker.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lines_that_name_a_maker_are_read() {
        let text = "OUI/MA-L\t\t\tOrganization\ncompany_id\t\t\tOrganization\n\n\
            28-6F-B9   (hex)\t\tNokia Shanghai Bell Co., Ltd.\r\n\
            286FB9     (base 16)\t\tNokia Shanghai Bell Co., Ltd.\n\t\t\t\tNo.388 Ning Qiao Road\n\n\
            00-00-00   (hex)\t\tXEROX CORPORATION\nzz-00-00   (hex)\t\tNobody\n00-11   (hex)\t\tShort\n\
            00-11-22-33   (hex)\t\tLong\n00-11-22   (hex)\t\t\n";
        let want =
            [(0x28_6F_B9, "Nokia Shanghai Bell Co., Ltd.".to_owned()), (0, "XEROX CORPORATION".to_owned())];
        assert_eq!(parse(text), BTreeMap::from(want));
    }

    #[test]
    fn a_missing_list_is_no_error() {
        assert!(load(Path::new("/nonexistent/oui.txt")).is_empty());
    }

    proptest! {
        #[test]
        fn reading_never_panics(line in "\\PC*\\(hex\\)\\PC*") {
            let _ = parse_line(&line);
        }
    }
}
