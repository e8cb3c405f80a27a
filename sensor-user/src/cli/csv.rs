//! Devices as CSV (RFC 4180): written for stock-taking, read back with what people changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use csv::{ReaderBuilder, StringRecord, Writer};

use sensor_core::inventory::cards::{Card, CardError, Cards};
use sensor_report::csv::{bare, guarded};

use crate::control::edit as checked;
use crate::protocol::{DeviceEdit, DeviceInfo, SwitchInfo};

/// The columns, in the order in which they are written.
const COLUMNS: [&str; 19] = [
    "id",
    "name",
    "mac",
    "addresses",
    "maker",
    "kind",
    "sure",
    "class",
    "criticality",
    "place",
    "owner",
    "note",
    "approved",
    "port",
    "vlan",
    "switch",
    "first_seen",
    "last_seen",
    "state",
];
/// Those that say which device it is, in the order in which they count.
const WHO: [&str; 3] = ["id", "mac", "addresses"];
/// What is read of them.
const READ: [&str; 7] = ["name", "place", "owner", "note", "class", "criticality", "approved"];
/// Most mistakes told at once.
const MISTAKES: usize = 20;
/// A line after the last one: if it is not read as that, a quote before it was not closed.
const END: &str = "\u{1}end";
/// Before UTF-8 for programs that would take it for something else.
pub(super) const MARK: &str = "\u{feff}";

/// A mistake in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line, from 1.
    pub line: u64,
    /// The column's name, if it is about one.
    pub column: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// All devices as CSV.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn export(devices: &[DeviceInfo], mark: bool) -> io::Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for info in devices {
        writer.write_record(row(info).map(|field| guarded(&field)))?;
    }
    let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(if mark { format!("{MARK}{text}") } else { text })
}

fn row(info: &DeviceInfo) -> [String; COLUMNS.len()] {
    let (device, card) = (&info.device, &info.card);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut state = Vec::new();
    state.extend(info.block.map(|block| format!("blocked {block}")));
    state.extend(info.gateway.then(|| "gateway".to_owned()));
    state.extend(info.protected.then(|| "protected".to_owned()));
    state.extend(info.last_seen.is_none().then(|| "never seen".to_owned()));
    [
        device.id.to_string(),
        text(&device.name),
        device.mac.clone(),
        device.ips.join(" "),
        text(&device.maker),
        info.kind.as_ref().map(|kind| kind.name.clone()).unwrap_or_default(),
        info.kind.as_ref().map(|kind| kind.confidence.to_string()).unwrap_or_default(),
        text(&device.class),
        text(&card.criticality),
        text(&card.place),
        text(&card.owner),
        text(&card.note),
        if card.approved { "yes" } else { "no" }.to_owned(),
        text(&info.port),
        info.vlan.to_string(),
        info.switch.as_ref().map(switch).unwrap_or_default(),
        info.first_seen.map(|at| at.to_string()).unwrap_or_default(),
        info.last_seen.map(|at| at.to_string()).unwrap_or_default(),
        state.join(", "),
    ]
}

/// A switch and its port.
fn switch(info: &SwitchInfo) -> String {
    [&info.name, &info.port].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// What a file says of devices, with the line of each.
///
/// # Errors
///
/// All mistakes, up to some number.
pub fn import(bytes: &[u8]) -> Result<Vec<(u64, DeviceEdit)>, Vec<Problem>> {
    let at = |line, what: &str| Problem { line, column: None, what: what.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        vec![at(line, "this is no UTF-8; save it as \"CSV UTF-8\"")]
    })?;
    let text = format!("{}\n{END}", text.strip_prefix(MARK).unwrap_or(text));
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let head = match records.next() {
        Some(Ok(head)) if head == [END][..] => {
            return Err(vec![at(1, "the file is empty; the first line must name the columns")]);
        }
        Some(Ok(head)) => head,
        Some(Err(error)) => return Err(vec![at(1, &error.to_string())]),
        None => return Err(vec![at(1, "nothing can be read")]),
    };
    let (names, head) = (&head, columns(&head)?);
    let (mut edits, mut problems) = (Vec::new(), Vec::new());
    let (mut known, mut cards) = (BTreeMap::new(), Cards::default());
    let mut place = Place { text: &text, byte: 0, line: 1 };
    for record in records {
        if problems.len() >= MISTAKES {
            break;
        }
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = place.line_at(error.position());
                problems.push(at(line, &error.to_string()));
                break;
            }
        };
        let line = place.line_at(record.position());
        if record == [END][..] || record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        if let Some(open) = record.iter().position(|field| field.ends_with(END)) {
            let column = names.get(open).map(str::to_owned);
            let what = "a quote (\") is opened here and not closed before the end of the file".to_owned();
            problems.push(Problem { line, column, what });
            break;
        }
        if record.iter().skip(names.len()).any(|field| !field.trim().is_empty()) {
            let what = format!(
                "it has {} fields, and the first line names {}; a text with a comma needs quotes (\")",
                record.len(),
                names.len()
            );
            problems.push(at(line, &what));
            continue;
        }
        let edit = edit(&head, &record, line).and_then(|edit| {
            fits(&edit, line, &mut cards).map_err(|what| at(line, &what))?;
            Ok(edit)
        });
        match edit {
            Ok(edit) => {
                if let Some(first) = known.insert(edit.device.clone(), line) {
                    problems.push(at(line, &format!("{} is in line {first} already", edit.device)));
                }
                edits.push((line, edit));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(edits) } else { Err(problems) }
}

/// Whether a card can say that, and no other line has the name.
fn fits(edit: &DeviceEdit, line: u64, cards: &mut Cards) -> Result<(), String> {
    let (_, edit) = checked(edit.clone()).map_err(|refusal| refusal.message)?;
    let card = cards.edited(&Card { id: line, ..Card::default() }, &edit).map_err(|error| match error {
        CardError::Taken { name, id } => format!("{name} is the name in line {id} already"),
        other => other.to_string(),
    })?;
    cards.put(card);
    Ok(())
}

/// How far a file is read.
struct Place<'a> {
    text: &'a str,
    byte: usize,
    line: u64,
}

impl Place<'_> {
    /// The line in which a record begins. The reader's own count leaves out that it skips empty lines.
    fn line_at(&mut self, position: Option<&csv::Position>) -> u64 {
        let bytes = self.text.as_bytes();
        let begin = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.byte);
        let skipped =
            bytes.get(begin..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let to = begin + skipped.count();
        let passed = bytes.get(self.byte..to).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte = self.byte.max(to);
        self.line
    }
}

/// Which column is where.
fn columns(head: &StringRecord) -> Result<BTreeMap<&'static str, usize>, Vec<Problem>> {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    let mut wrong = |column: &str, what: String| {
        problems.push(Problem { line: 1, column: Some(column.to_owned()), what });
    };
    for (at, name) in head.iter().enumerate() {
        let name = name.trim().to_lowercase();
        match COLUMNS.into_iter().find(|known| *known == name) {
            Some(known) if found.insert(known, at).is_some() => wrong(known, "it is there twice".to_owned()),
            Some(_) => {}
            None => wrong(&name, format!("there is no such column; there are {}", COLUMNS.join(", "))),
        }
    }
    if problems.is_empty() && !WHO.iter().any(|who| found.contains_key(who)) {
        let what = format!("no column says which device it is: {}", WHO.join(", "));
        problems.push(Problem { line: 1, column: None, what });
    }
    if problems.is_empty() && !READ.iter().any(|read| found.contains_key(read)) {
        let what = format!("no column says anything of a device: {}", READ.join(", "));
        problems.push(Problem { line: 1, column: None, what });
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn edit(
    head: &BTreeMap<&'static str, usize>,
    record: &StringRecord,
    line: u64,
) -> Result<DeviceEdit, Problem> {
    let wrong = |column: &str, what: String| Problem { line, column: Some(column.to_owned()), what };
    if let Some((column, at)) = head.iter().find(|(_, at)| **at >= record.len()) {
        let what = format!("the line ends before it: it has {} of {} fields", record.len(), at + 1);
        return Err(wrong(column, what));
    }
    let field = |column: &str| head.get(column).and_then(|at| record.get(*at)).map(|text| bare(text.trim()));
    let who = WHO.iter().find_map(|column| Some((*column, field(column).filter(|text| !text.is_empty())?)));
    let Some((column, who)) = who else {
        let what = format!("nothing says which device it is: {} are empty", WHO.join(", "));
        return Err(Problem { line, column: None, what });
    };
    // Of several addresses the first is as good as any.
    let who = who.split_whitespace().next().unwrap_or_default();
    if column == "id" && who.parse::<u64>().is_err() {
        return Err(wrong(column, format!("{who} is no number")));
    }
    let approved = match field("approved").map(str::to_lowercase).as_deref() {
        None => None,
        Some("yes" | "true" | "1") => Some(true),
        Some("no" | "false" | "0" | "") => Some(false),
        Some(other) => return Err(wrong("approved", format!("{other} is neither yes nor no"))),
    };
    let text = |column: &str| field(column).map(str::to_owned);
    Ok(DeviceEdit {
        device: who.to_owned(),
        name: text("name"),
        place: text("place"),
        owner: text("owner"),
        note: text("note"),
        class: text("class"),
        criticality: text("criticality"),
        approved,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Stamp;
    use crate::protocol::{CardInfo, DeviceName, KindInfo};

    fn info(id: u64, name: &str, note: &str) -> DeviceInfo {
        let device = DeviceName {
            id,
            mac: "00:1b:21:00:00:07".to_owned(),
            ips: vec!["10.0.0.7".to_owned(), "fe80::7".to_owned()],
            maker: Some("Siemens, AG".to_owned()),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            class: None,
        };
        let note = Some(note.to_owned()).filter(|note| !note.is_empty());
        let card = CardInfo { note, approved: true, ..CardInfo::default() };
        DeviceInfo {
            device,
            more_ips: 0,
            card,
            first_seen: Some(Stamp(0)),
            last_seen: None,
            port: Some("eth1".to_owned()),
            vlan: 0,
            segment: None,
            switch: Some(SwitchInfo {
                name: Some("sw-3f".to_owned()),
                port: Some("Gi0/13".to_owned()),
                platform: None,
            }),
            kind: Some(KindInfo {
                name: "modality".to_owned(),
                confidence: 0.98.into(),
                reasons: Vec::new(),
            }),
            names: Vec::new(),
            perhaps_same: Vec::new(),
            gateway: false,
            protected: true,
            block: None,
            destinations: 0,
            usual_destinations: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_no_spreadsheet_takes_it_for_a_formula() {
        let text = export(&[info(7, "MRI \"2\", A", "=cmd|' /C calc'!A0")], true).unwrap();
        assert_eq!(
            text,
            "\u{feff}id,name,mac,addresses,maker,kind,sure,class,criticality,place,owner,note,approved,port,vlan,switch,first_seen,\
             last_seen,state\n7,\"MRI \"\"2\"\", A\",00:1b:21:00:00:07,10.0.0.7 fe80::7,\"Siemens, AG\",modality,0.98,,,,,'=cmd|' /C calc'!A0,yes,\
             eth1,0,sw-3f Gi0/13,1970-01-01T00:00:00.000000+0000,,\"protected, never seen\"\n"
        );
        let read = import(text.as_bytes()).unwrap();
        let [(2, edit)] = &read[..] else { panic!("{read:?}") };
        assert_eq!((edit.device.as_str(), edit.name.as_deref()), ("7", Some("MRI \"2\", A")));
        assert_eq!((edit.note.as_deref(), edit.approved), (Some("=cmd|' /C calc'!A0"), Some(true)));
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_column() {
        let cases: [(&str, &[&str]); 15] = [
            ("", &["line 1: the file is empty; the first line must name the columns"]),
            (
                "mac,nme\n",
                &[
                    "line 1, column nme: there is no such column; there are id, name, mac, addresses, maker, kind, sure, \
                class, criticality, place, owner, note, approved, port, vlan, switch, first_seen, last_seen, state",
                ],
            ),
            ("mac,mac,name\n", &["line 1, column mac: it is there twice"]),
            ("name,place\n", &["line 1: no column says which device it is: id, mac, addresses"]),
            (
                "mac,port\n",
                &[
                    "line 1: no column says anything of a device: name, place, owner, note, class, criticality, approved",
                ],
            ),
            (
                "mac,name\n,a\n\n00:1b:21:00:00:07\n",
                &[
                    "line 2: nothing says which device it is: id, mac, addresses are empty",
                    "line 4, column name: the line ends before it: it has 1 of 2 fields",
                ],
            ),
            (
                "id,approved\nx,yes\n7,maybe\n",
                &[
                    "line 2, column id: x is no number",
                    "line 3, column approved: maybe is neither yes nor no",
                ],
            ),
            ("id,name\n7,a\n8,b\n7,c\n", &["line 4: 7 is in line 2 already"]),
            (
                "id,name\n7,\"a\nb\"\n",
                &[
                    "line 2: the name holds a character that cannot be shown; write letters, digits, signs and spaces",
                ],
            ),
            (
                "id,name\n7,a\n8,\"b\n9,c\n",
                &[
                    "line 3, column name: a quote (\") is opened here and not closed before the end of the file",
                ],
            ),
            (
                "id,name\n7,MRI 2, room 4\n",
                &[
                    "line 2: it has 3 fields, and the first line names 2; a text with a comma needs quotes (\")",
                ],
            ),
            ("id,name\n7,a,,\n", &[]),
            ("id,name\n7,a\n8,A\n", &["line 3: A is the name in line 2 already"]),
            (
                "id,criticality\n7,huge\n",
                &["line 2: device 7: huge is not one of other, server, life-critical"],
            ),
            (
                "id,name\n7,12\n",
                &["line 2: 12 cannot be a name, for it is a number or an address; put a word before it"],
            ),
        ];
        for (text, expected) in cases {
            let found = import(text.as_bytes()).err().unwrap_or_default();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{text:?}");
        }
        let latin = import(b"id,name\n7,a\n8,\xfcber\n").unwrap_err();
        assert_eq!(latin[0].to_string(), "line 3: this is no UTF-8; save it as \"CSV UTF-8\"");
        let many = format!("id,name\n{}", "x,a\n".repeat(1_000));
        assert_eq!(import(many.as_bytes()).unwrap_err().len(), MISTAKES);
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(import(&bytes));
            drop(import(&[b"id,name,note\n", &bytes[..]].concat()));
        }

        #[test]
        fn what_people_write_survives_the_way_out_and_back(name in "([=+@＝＠-]?[A-Za-zあ-ん][ -~あ-ん]{0,20})?", note in "\\PC{0,40}") {
            let text = export(&[info(7, &name, &note)], false).unwrap();
            let read = import(text.as_bytes()).unwrap();
            prop_assert_eq!(read[0].1.name.as_deref().unwrap(), name.trim());
            prop_assert_eq!(read[0].1.note.as_deref().unwrap(), note.trim());
        }
    }
}
