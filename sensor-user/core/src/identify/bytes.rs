//! Reading what others wrote: every read is bounded, and what is said in words is made fit to be shown.

/// Most characters kept of anything a device says in words.
const MAX_WORDS: usize = 64;

/// A place in bytes. Reading behind the end gives `None`.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The next two bytes, in network byte order.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// The next four bytes.
    pub fn four(&mut self) -> Option<[u8; 4]> {
        self.take(4)?.first_chunk().copied()
    }
}

/// Words as a person may read them: without control characters, trimmed, and no more than [`MAX_WORDS`] characters; none if
/// nothing is left.
pub fn words(bytes: &[u8]) -> Option<String> {
    // More bytes than so many characters have are not looked at.
    let text = String::from_utf8_lossy(bytes.get(..MAX_WORDS * 4).unwrap_or(bytes));
    let shown = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER && !is_steering(*c);
    let text: String = text.chars().filter(shown).take(MAX_WORDS).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Characters that change how those around them are shown (Unicode 16, bidirectional controls), or are not seen at all.
fn is_steering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Adds a text to a list, unless it is there or the list is full.
pub fn add(list: &mut Vec<String>, text: impl Into<Option<String>>, most: usize) -> bool {
    let Some(text) = text.into().filter(|text| list.len() < most && !list.contains(text)) else {
        return false;
    };
    list.push(text);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_fit_to_be_shown() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"  MRI 2\r\n", Some("MRI 2")),
            (b"\x1b[2Jevil\0", Some("[2Jevil")),
            ("受付".as_bytes(), Some("受付")),
            ("a\u{202e}b".as_bytes(), Some("ab")),
            (b"\xff\xfe", None),
            (b" ", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(words(bytes).as_deref(), expected);
        }
        assert_eq!(words(&[b'a'; 1_000]).map(|text| text.len()), Some(MAX_WORDS));
    }
}
