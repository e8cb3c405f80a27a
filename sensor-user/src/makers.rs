//! Makers by MAC address: the IEEE's lists as Debian's package ieee-data installs them, or newer ones in their place.

use std::fs;
use std::path::Path;

use sensor_core::identify::makers::Makers;

/// Where the package puts the list of blocks of 24 bits; those of 28 and 36 bits lie beside it.
pub const DEFAULT_PATH: &str = "/usr/share/ieee-data/oui.txt";
/// How these are called.
const SMALLER: [&str; 2] = ["mam.txt", "oui36.txt"];

/// Reads the lists. Without the first devices are shown without a maker, which a warning tells; without the others some are.
pub fn load(path: &Path) -> Makers {
    let mut makers = match fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            log::warn!(
                "cannot read {}: {error}; devices are shown without their maker (apt-get install ieee-data)",
                path.display()
            );
            return Makers::default();
        }
    };
    if makers.is_empty() {
        log::warn!(
            "{} names no maker; devices are shown without one (is it oui.txt of ieee-data?)",
            path.display()
        );
    }
    for name in SMALLER {
        match fs::read(path.with_file_name(name)) {
            Ok(bytes) => makers.extend(parse(&String::from_utf8_lossy(&bytes))),
            Err(error) => log::debug!("{name} beside {}: {error}", path.display()),
        }
    }
    makers
}

/// Reads pairs of lines like `20-85-93   (hex)\t\tIOG Products LLC` and `B00000-BFFFFF     (base 16)\t\tIOG Products LLC`; of a
/// whole block of 24 bits the second line names no range. All others are addresses and headings.
fn parse(text: &str) -> Makers {
    let mut makers = Makers::default();
    // The block of the line before, which may be one that is divided.
    let mut block: Option<(u64, &str)> = None;
    for line in text.lines() {
        let part = block.and_then(|(oui, _)| parse_part(line, oui));
        match (part, block.take()) {
            (Some((bits, prefix, maker)), _) => makers.enter(bits, prefix, maker),
            (None, Some((oui, maker))) => makers.enter(24, oui, maker),
            (None, None) => {}
        }
        block = parse_block(line);
    }
    if let Some((oui, maker)) = block {
        makers.enter(24, oui, maker);
    }
    makers
}

fn parse_block(line: &str) -> Option<(u64, &str)> {
    let (oui, maker) = line.split_once("(hex)")?;
    let mut parts = oui.trim().split('-');
    let mut number = 0;
    for _ in 0..3 {
        let part = parts.next().filter(|p| p.len() == 2)?;
        number = number << 8 | u64::from(u8::from_str_radix(part, 16).ok()?);
    }
    let maker = maker.trim();
    (parts.next().is_none() && !maker.is_empty()).then_some((number, maker))
}

/// A part of a block: how many bits are assigned, and which.
fn parse_part(line: &str, oui: u64) -> Option<(u8, u64, &str)> {
    let (range, maker) = line.split_once("(base 16)")?;
    let (first, last) = range.trim().split_once('-')?;
    let [first, last] = [first, last].map(|end| u32::from_str_radix(end, 16).ok());
    let (first, last, maker) = (first?, last?, maker.trim());
    // In hexadecimal digits: one, or three, of six say which part.
    let bits: u8 = match last.checked_sub(first)? {
        0x0f_ffff => 28,
        0x0fff => 36,
        _ => return None,
    };
    let low = 48 - bits;
    let in_block = first >> 24 == 0 && first.trailing_zeros() >= u32::from(low);
    let prefix = (oui << 24 | u64::from(first)) >> low;
    (in_block && !maker.is_empty()).then_some((bits, prefix, maker))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn makers(entries: &[(u8, u64, &str)]) -> Makers {
        let mut makers = Makers::default();
        entries.iter().for_each(|(bits, prefix, maker)| makers.enter(*bits, *prefix, maker));
        makers
    }

    #[test]
    fn the_lines_that_name_a_maker_are_read() {
        let text = "OUI/MA-L\t\t\tOrganization\ncompany_id\t\t\tOrganization\n\n\
            28-6F-B9   (hex)\t\tNokia Shanghai Bell Co., Ltd.\r\n\
            286FB9     (base 16)\t\tNokia Shanghai Bell Co., Ltd.\n\t\t\t\tNo.388 Ning Qiao Road\n\n\
            00-00-00   (hex)\t\tXEROX CORPORATION\nzz-00-00   (hex)\t\tNobody\n00-11   (hex)\t\tShort\n\
            00-11-22-33   (hex)\t\tLong\n00-11-22   (hex)\t\t\n";
        let want = [(24, 0x28_6F_B9, "Nokia Shanghai Bell Co., Ltd."), (24, 0, "XEROX CORPORATION")];
        assert_eq!(parse(text), makers(&want));
    }

    #[test]
    fn parts_of_a_block_are_read() {
        let text = "20-85-93   (hex)\t\tIOG Products LLC\nB00000-BFFFFF     (base 16)\t\tIOG Products LLC\n\
            70-B3-D5   (hex)\t\t2M Technology\r\n719000-719FFF     (base 16)\t\t2M Technology\r\n\
            70-B3-D5   (hex)\t\tOdd\n719001-71A000     (base 16)\t\tOdd\n";
        let want = [
            (28, 0x0208_593b, "IOG Products LLC"),
            (36, 0x0007_0b3d_5719, "2M Technology"),
            (24, 0x70_b3_d5, "Odd"),
        ];
        assert_eq!(parse(text), makers(&want));
    }

    #[test]
    fn a_missing_list_is_no_error() {
        assert!(load(Path::new("/nonexistent/oui.txt")).is_empty());
    }

    proptest! {
        #[test]
        fn reading_never_panics(a in "\\PC*\\(hex\\)\\PC*", b in "[0-9A-F]{0,9}-[0-9A-F]{0,9} *\\(base 16\\)\\PC*") {
            parse(&format!("70-B3-D5   (hex)\t\tx\n{b}\n{a}\n{b}"));
        }
    }
}
