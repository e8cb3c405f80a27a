//! Multicast DNS (RFC 6762) and service discovery (RFC 6763): which services a device offers, which it looks for, what it calls
//! itself. Read as far as a message goes, which may have been cut short, and only what is asked for here; a parser of whole
//! messages would give nothing of those.

use borsh::{BorshDeserialize, BorshSerialize};

use super::bytes::{Reader, add, words};

/// Questions and records read of a message, at most.
const MAX_RECORDS: usize = 48;
/// Labels of a name, at most; and jumps to a part that was written before.
const MAX_LABELS: usize = 16;
const MAX_JUMPS: usize = 8;
/// Of each kind, most that is kept of a message.
const MAX_KEPT: usize = 12;

/// Record types.
const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// Keys of TXT records that hold a product's name or kind: `_device-info` and HomeKit (`model`, `md`), printers (`ty`, `product`,
/// `usb_MDL`), and what others call it.
const MODEL_KEYS: [&str; 9] =
    ["model", "md", "ty", "product", "usb_mdl", "model_number", "modelname", "device", "fn"];

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Mdns {
    /// Names of hosts, without `.local`.
    pub hosts: Vec<String>,
    /// Types of services it offers, such as `_ipp._tcp`.
    pub offers: Vec<String>,
    /// Types of services it looks for.
    pub looks_for: Vec<String>,
    /// What it says of itself in words: names of its services, models.
    pub texts: Vec<String>,
}

/// Reads a message.
pub fn mdns(bytes: &[u8]) -> Option<Mdns> {
    let mut at = Reader(bytes);
    at.u16()?;
    let answer = at.u16()? & 0x8000 != 0;
    let counts = [at.u16()?, at.u16()?, at.u16()?, at.u16()?].map(usize::from);
    let mut said = Mdns::default();
    let [questions, records @ ..] = counts;
    for _ in 0..questions.min(MAX_RECORDS) {
        let Some(name) = name(bytes, &mut at) else { return Some(said) };
        if at.take(4).is_none() {
            return Some(said);
        }
        if !answer {
            add(&mut said.looks_for, service(&name), MAX_KEPT);
        }
    }
    // What a question comes with is known of others.
    if answer {
        for _ in 0..records.iter().sum::<usize>().min(MAX_RECORDS) {
            if said.record(bytes, &mut at).is_none() {
                break;
            }
        }
    }
    Some(said)
}

impl Mdns {
    fn record<'a>(&mut self, bytes: &'a [u8], at: &mut Reader<'a>) -> Option<()> {
        let owner = name(bytes, at)?;
        let kind = at.u16()?;
        at.take(6)?;
        let length = usize::from(at.u16()?);
        let mut value = Reader(at.take(length)?);
        add(&mut self.offers, service(&owner), MAX_KEPT);
        match kind {
            A | AAAA => {
                add(&mut self.hosts, host(&owner), MAX_KEPT);
            }
            PTR => {
                if let Some(target) = name(bytes, &mut value) {
                    add(&mut self.offers, service(&target), MAX_KEPT);
                    add(&mut self.texts, instance(&target), MAX_KEPT);
                }
            }
            SRV => {
                value.take(6)?;
                if let Some(target) = name(bytes, &mut value) {
                    add(&mut self.hosts, host(&target), MAX_KEPT);
                }
            }
            TXT => self.texts(value),
            _ => {}
        }
        Some(())
    }

    fn texts(&mut self, mut value: Reader<'_>) {
        while let Some(entry) = value.u8().and_then(|length| value.take(usize::from(length))) {
            let text = match entry.iter().position(|byte| *byte == b'=') {
                None => words(entry).filter(|text| text.contains(' ')),
                Some(equals) => {
                    let (key, value) = entry.split_at(equals);
                    let known = MODEL_KEYS.iter().any(|model| key.eq_ignore_ascii_case(model.as_bytes()));
                    value.get(1..).filter(|_| known).and_then(words)
                }
            };
            add(&mut self.texts, text, MAX_KEPT);
        }
    }
}

/// The labels of a name (RFC 1035 4.1.4).
fn name<'a>(message: &'a [u8], at: &mut Reader<'a>) -> Option<Vec<&'a [u8]>> {
    let (mut labels, mut jumps) = (Vec::new(), 0);
    // Once it went on elsewhere, `at` is behind the name.
    let mut elsewhere: Option<Reader<'a>> = None;
    loop {
        let here = elsewhere.as_mut().unwrap_or(at);
        let length = here.u8()?;
        if length == 0 {
            return Some(labels);
        }
        if length & 0xc0 == 0xc0 {
            let low = here.u8()?;
            jumps += 1;
            let to = usize::from(length & 0x3f) << 8 | usize::from(low);
            elsewhere = Some(Reader(message.get(to..).filter(|_| jumps <= MAX_JUMPS)?));
            continue;
        }
        labels.push(here.take(usize::from(length)).filter(|_| length < 64 && labels.len() < MAX_LABELS)?);
    }
}

/// The type of service in a name: of `Ward 3._ipp._tcp.local` it is `_ipp._tcp`.
fn service(labels: &[&[u8]]) -> Option<String> {
    let transport = |label: &[u8]| label.eq_ignore_ascii_case(b"_tcp") || label.eq_ignore_ascii_case(b"_udp");
    let at = labels.iter().rposition(|label| transport(label))?;
    let kind = labels.get(at.checked_sub(1)?)?;
    // Asks for the types themselves.
    if !kind.starts_with(b"_") || kind.eq_ignore_ascii_case(b"_dns-sd") {
        return None;
    }
    Some(format!("{}.{}", words(kind)?, words(labels.get(at)?)?).to_lowercase())
}

/// What a service is called: of `Ward 3._ipp._tcp.local` it is `Ward 3`.
fn instance(labels: &[&[u8]]) -> Option<String> {
    match labels {
        [first, second, ..] if !first.starts_with(b"_") && second.starts_with(b"_") => words(first),
        _ => None,
    }
}

/// The host in a name such as `mri.local`.
fn host(labels: &[&[u8]]) -> Option<String> {
    match labels {
        [host, local] if local.eq_ignore_ascii_case(b"local") => words(host),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Vec<u8> {
        let each = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
        each.chain([0]).collect()
    }

    fn record(owner: &[u8], kind: u16, value: &[u8]) -> Vec<u8> {
        let head = [kind.to_be_bytes(), [0, 1], [0, 0], [0, 120], (value.len() as u16).to_be_bytes()];
        [owner, &head.concat(), value].concat()
    }

    fn answer(records: &[Vec<u8>]) -> Vec<u8> {
        [&[0, 0, 0x84, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0][..], &records.concat()].concat()
    }

    #[test]
    fn a_printer_says_what_it_is() {
        let instance = labels("Ward 3._ipp._tcp.local");
        let txt = [&[9][..], b"txtvers=1", &[13], b"ty=LaserJet 4", &[11], b"Big printer"].concat();
        let srv = [&[0, 0, 0, 0, 2, 119][..], &labels("prn3.local")].concat();
        let message = answer(&[
            record(&labels("_ipp._tcp.local"), PTR, &instance),
            // The name once more, by reference.
            record(&[0xc0, 12 + 17 + 10], TXT, &txt),
            record(&instance, SRV, &srv),
            record(&labels("prn3.local"), A, &[10, 0, 0, 3]),
        ]);
        let expected = Mdns {
            hosts: vec!["prn3".into()],
            offers: vec!["_ipp._tcp".into()],
            looks_for: Vec::new(),
            texts: vec!["Ward 3".into(), "LaserJet 4".into(), "Big printer".into()],
        };
        assert_eq!(mdns(&message), Some(expected.clone()));
        // Cut anywhere, no more is said than that.
        for length in 0..message.len() {
            let Some(said) = mdns(&message[..length]) else { continue };
            assert!(said.offers.iter().all(|text| expected.offers.contains(text)), "{said:?}");
            assert!(said.texts.iter().all(|text| expected.texts.contains(text)), "{said:?}");
        }
    }

    #[test]
    fn a_question_says_what_is_looked_for_and_nothing_of_oneself() {
        let question = [labels("_airplay._tcp.local"), vec![0, 12, 0, 1]].concat();
        let known = record(&labels("_ipp._tcp.local"), PTR, &labels("x._ipp._tcp.local"));
        let message = [&[0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0][..], &question, &known].concat();
        let expected = Mdns { looks_for: vec!["_airplay._tcp".into()], ..Mdns::default() };
        assert_eq!(mdns(&message), Some(expected));
    }

    #[test]
    fn a_name_that_refers_to_itself_ends() {
        let message = answer(&[record(&[0xc0, 12], PTR, &[0xc0, 12])]);
        assert_eq!(mdns(&message), Some(Mdns::default()));
    }
}
