//! Devices as CSV (RFC 4180): written for stock-taking, read back with what people changed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;

use csv::{ReaderBuilder, StringRecord, Writer};

use sensor_core::addr::Mac;
use sensor_core::inventory::cards::{Card, CardError, Cards};
use sensor_report::csv::{bare, guarded};

use super::counted::{Counted, counted, evidence, number};
use super::show::name;
use crate::control::edit as checked;
use crate::protocol::{DeviceEdit, DeviceInfo, MistakeInfo, Refusal, SwitchInfo};

/// The columns, in the order in which they are written.
const COLUMNS: [&str; 21] = [
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
    "segment",
    "switch",
    "first_seen",
    "last_seen",
    "state",
    "one_by_evidence",
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

/// What is wrong with a file, up to some number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems {
    /// In the order of the lines.
    pub told: Vec<Problem>,
    /// So many besides.
    pub more: usize,
}

impl Problems {
    /// One, after which nothing more can be said.
    fn one(line: u64, column: Option<&str>, what: &str) -> Self {
        let mut problems = Self::default();
        problems.add(line, column, what);
        problems
    }

    /// One more.
    pub fn add(&mut self, line: u64, column: Option<&str>, what: impl Into<String>) {
        if self.told.len() < MISTAKES {
            self.told.push(Problem { line, column: column.map(str::to_owned), what: what.into() });
        } else {
            self.more += 1;
        }
    }

    /// What was read, if nothing is wrong with it.
    pub fn or<T>(self, read: T) -> Result<T, Self> {
        if self.told.is_empty() { Ok(read) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.told.iter().map(ToString::to_string).collect();
        write!(f, "{}", told.join("\n"))?;
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

/// What a line says of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The line, from 1.
    pub line: u64,
    /// The column that says which device it is.
    pub who: &'static str,
    /// All addresses in it, if it is that of addresses: the edit names the first.
    pub addresses: Vec<String>,
    /// What it says.
    pub edit: DeviceEdit,
}

/// All devices as CSV.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn export(devices: &[DeviceInfo], mark: bool) -> io::Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for one in counted(devices) {
        writer.write_record(row(&one).map(|field| guarded(&field)))?;
    }
    let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(if mark { format!("{MARK}{text}") } else { text })
}

fn row(one: &Counted) -> [String; COLUMNS.len()] {
    let info = &one.info;
    let (device, card) = (&info.device, &info.card);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut state = Vec::new();
    let alone = if one.held.is_empty() { String::new() } else { format!(" ({} alone)", one.held.join(" ")) };
    state.extend(info.block.map(|block| format!("blocked {block}{alone}")));
    state.extend(info.gateway.then(|| "gateway".to_owned()));
    state.extend(info.protected.then(|| "protected".to_owned()));
    state.extend(info.last_seen.is_none().then(|| "never seen".to_owned()));
    [
        device.id.to_string(),
        text(&device.name),
        one.macs.join(" "),
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
        text(&info.segment),
        info.switch.as_ref().map(switch).unwrap_or_default(),
        info.first_seen.map(|at| at.to_string()).unwrap_or_default(),
        info.last_seen.map(|at| at.to_string()).unwrap_or_default(),
        state.join(", "),
        evidence(info).map(|id| format!("DHCP client id {id}")).unwrap_or_default(),
    ]
}

/// A switch and its port.
fn switch(info: &SwitchInfo) -> String {
    [&info.name, &info.port].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// What a file says of devices.
///
/// # Errors
///
/// All mistakes, up to some number.
pub fn import(bytes: &[u8]) -> Result<Vec<Row>, Problems> {
    // What is no UTF-8 is told where it is; until there all can be read.
    let text = String::from_utf8_lossy(bytes);
    let broken = matches!(text, Cow::Owned(_));
    let text = format!("{}\n{END}", text.strip_prefix(MARK).unwrap_or(&text));
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let head = match records.next() {
        Some(Ok(head)) if head == [END][..] => {
            return Err(Problems::one(1, None, "the file is empty; the first line must name the columns"));
        }
        Some(Ok(head)) => head,
        Some(Err(error)) => return Err(Problems::one(1, None, &error.to_string())),
        None => return Err(Problems::one(1, None, "nothing can be read")),
    };
    if broken && head.iter().any(is_broken) {
        return Err(Problems::one(1, None, NO_UTF_8));
    }
    let (names, head) = (&head, columns(&head)?);
    let (mut rows, mut problems) = (Vec::new(), Problems::default());
    let (mut known, mut cards) = (BTreeMap::new(), Cards::default());
    let mut place = Place { text: &text, byte: 0, line: 1 };
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.add(place.line_at(error.position()), None, error.to_string());
                break;
            }
        };
        let line = place.line_at(record.position());
        if record == [END][..] || record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        if let Some(open) = record.iter().position(|field| field.ends_with(END)) {
            let what = "a quote (\") is opened here and not closed before the end of the file";
            problems.add(line, names.get(open), what);
            break;
        }
        // The whole file was saved in another encoding: one place says it as well as all.
        if let Some(at) = record.iter().position(is_broken).filter(|_| broken) {
            problems.add(line, names.get(at), NO_UTF_8);
            break;
        }
        if record.iter().skip(names.len()).any(|field| !field.trim().is_empty()) {
            let what = format!(
                "it has {} fields, and the first line names {}; a text with a comma needs quotes (\")",
                record.len(),
                names.len()
            );
            problems.add(line, None, what);
            continue;
        }
        let Some(row) = row_of(&head, &record, line, &mut problems) else { continue };
        fits(&row, &mut cards, &mut problems);
        if let Some(first) = known.insert(row.edit.device.clone(), line) {
            problems.add(line, Some(row.who), format!("{} is in line {first} already", row.edit.device));
        }
        rows.push(row);
    }
    problems.or(rows)
}

const NO_UTF_8: &str = "this is no UTF-8; save it as \"CSV UTF-8\"";

/// Whether something in it could not be read.
fn is_broken(field: &str) -> bool {
    field.contains(char::REPLACEMENT_CHARACTER)
}

/// Tells what a card cannot say, and a name that another line has.
fn fits(row: &Row, cards: &mut Cards, problems: &mut Problems) {
    let Row { line, who, edit, .. } = row;
    let nothing = DeviceEdit { device: edit.device.clone(), ..DeviceEdit::default() };
    if let Err(refusal) = checked(nothing.clone()) {
        return problems.add(*line, Some(who), refusal.message);
    }
    let mut card = Card { id: *line, ..Card::default() };
    // One by one: each may be wrong, and has its column.
    let parts = [
        ("name", DeviceEdit { name: edit.name.clone(), ..nothing.clone() }),
        ("place", DeviceEdit { place: edit.place.clone(), ..nothing.clone() }),
        ("owner", DeviceEdit { owner: edit.owner.clone(), ..nothing.clone() }),
        ("note", DeviceEdit { note: edit.note.clone(), ..nothing.clone() }),
        ("class", DeviceEdit { class: edit.class.clone(), ..nothing.clone() }),
        ("criticality", DeviceEdit { criticality: edit.criticality.clone(), ..nothing }),
    ];
    for (column, part) in parts {
        let edited = checked(part).map_err(|refusal| refusal.message).and_then(|(_, edit)| {
            cards.edited(&card, &edit).map_err(|error| match error {
                CardError::Taken { name, id } => format!("{name} is the name in line {id} already"),
                other => other.to_string(),
            })
        });
        match edited {
            Ok(edited) => card = edited,
            Err(what) => problems.add(*line, Some(column), what),
        }
    }
    cards.put(card);
}

/// Tells lines that name several devices by their addresses.
///
/// # Errors
///
/// Those lines, up to some number.
pub fn of_one_device(rows: &[Row], devices: &[DeviceInfo]) -> Result<(), Problems> {
    let mut owners: HashMap<&str, Vec<&DeviceInfo>> = HashMap::new();
    // A gateway's MAC address carries the addresses of others.
    for info in devices.iter().filter(|info| !info.gateway) {
        for address in info.device.ips.iter().chain([&info.device.mac]) {
            owners.entry(address).or_default().push(info);
        }
    }
    let mut problems = Problems::default();
    for row in rows {
        let mut known = row.addresses.iter().filter_map(|address| Some((address, owners.get(&**address)?)));
        let Some((first, mine)) = known.next() else { continue };
        let of_mine = |info: &&DeviceInfo| mine.iter().any(|own| number(own) == number(info));
        if let Some((other, theirs)) = known.find(|(_, theirs)| !theirs.iter().any(of_mine)) {
            let name = |infos: &[&DeviceInfo]| {
                let names =
                    infos.iter().map(|info| format!("device {}, {}", info.device.id, name(&info.device)));
                names.collect::<Vec<_>>().join(" or ")
            };
            let what = format!(
                "{first} is {}, and {other} is {}; write the addresses of one of them",
                name(mine),
                name(theirs)
            );
            problems.add(row.line, Some(row.who), what);
        }
    }
    problems.or(())
}

/// What the daemon says is wrong, in the lines and columns of the file.
pub fn placed(refusal: Refusal, rows: &[Row]) -> Problems {
    let mut problems = Problems::default();
    for MistakeInfo { at, key, what } in refusal.mistakes {
        let row = rows.get(at);
        let column = match key.as_deref() {
            Some("device") => row.map(|row| row.who),
            key => key,
        };
        problems.add(row.map_or(0, |row| row.line), column, what);
    }
    problems.more += refusal.more_mistakes;
    problems
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
fn columns(head: &StringRecord) -> Result<BTreeMap<&'static str, usize>, Problems> {
    let (mut found, mut problems) = (BTreeMap::new(), Problems::default());
    for (at, name) in head.iter().enumerate() {
        let name = name.trim().to_lowercase();
        match COLUMNS.into_iter().find(|known| *known == name) {
            Some(known) if found.insert(known, at).is_some() => {
                problems.add(1, Some(known), "it is there twice");
            }
            Some(_) => {}
            None => {
                let what = format!("there is no such column; there are {}", COLUMNS.join(", "));
                problems.add(1, Some(&name), what);
            }
        }
    }
    if problems.told.is_empty() && !WHO.iter().any(|who| found.contains_key(who)) {
        problems.add(1, None, format!("no column says which device it is: {}", WHO.join(", ")));
    }
    if problems.told.is_empty() && !READ.iter().any(|read| found.contains_key(read)) {
        problems.add(1, None, format!("no column says anything of a device: {}", READ.join(", ")));
    }
    problems.or(found)
}

/// What a line says, if it can be said of whom.
fn row_of(
    head: &BTreeMap<&'static str, usize>,
    record: &StringRecord,
    line: u64,
    problems: &mut Problems,
) -> Option<Row> {
    if let Some((column, at)) = head.iter().find(|(_, at)| **at >= record.len()) {
        let what = format!("the line ends before it: it has {} of {} fields", record.len(), at + 1);
        problems.add(line, Some(column), what);
        return None;
    }
    let field = |column: &str| head.get(column).and_then(|at| record.get(*at)).map(|text| bare(text.trim()));
    let who = WHO.iter().find_map(|column| Some((*column, field(column).filter(|text| !text.is_empty())?)));
    let Some((column, who)) = who else {
        problems.add(line, None, format!("nothing says which device it is: {} are empty", WHO.join(", ")));
        return None;
    };
    let parts = who.split_whitespace();
    // As the daemon writes them.
    let same = |text: &str| {
        let ip = text.parse::<IpAddr>().map(|ip| ip.to_canonical().to_string());
        ip.or_else(|_| text.parse::<Mac>().map(|mac| mac.to_string())).unwrap_or_else(|_| text.to_owned())
    };
    let addresses = if column == "addresses" { parts.clone().map(same).collect() } else { Vec::new() };
    let who = parts.clone().next().unwrap_or_default();
    if column == "id" && who.parse::<u64>().is_err() {
        problems.add(line, Some(column), format!("{who} is no number"));
    }
    let approved = match field("approved").map(str::to_lowercase).as_deref() {
        None => None,
        Some("yes" | "true" | "1") => Some(true),
        Some("no" | "false" | "0" | "") => Some(false),
        Some(other) => {
            problems.add(line, Some("approved"), format!("{other} is neither yes nor no"));
            None
        }
    };
    let text = |column: &str| field(column).map(str::to_owned);
    let edit = DeviceEdit {
        device: who.to_owned(),
        name: text("name"),
        place: text("place"),
        owner: text("owner"),
        note: text("note"),
        class: text("class"),
        criticality: text("criticality"),
        approved,
    };
    Some(Row { line, who: column, addresses, edit })
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
            segment: Some("radiology".to_owned()),
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
            one_by_evidence: None,
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
            "\u{feff}id,name,mac,addresses,maker,kind,sure,class,criticality,place,owner,note,approved,port,vlan,segment,switch,first_seen,\
             last_seen,state,one_by_evidence\n7,\"MRI \"\"2\"\", A\",00:1b:21:00:00:07,10.0.0.7 fe80::7,\"Siemens, AG\",modality,0.98,,,,,'=cmd|' /C calc'!A0,yes,\
             eth1,0,radiology,sw-3f Gi0/13,1970-01-01T00:00:00.000000+0000,,\"protected, never seen\",\n"
        );
        let read = import(text.as_bytes()).unwrap();
        let [Row { line: 2, who: "id", edit, .. }] = &read[..] else { panic!("{read:?}") };
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
                class, criticality, place, owner, note, approved, port, vlan, segment, switch, first_seen, last_seen, state, one_by_evidence",
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
            ("id,name\n7,a\n8,b\n7,c\n", &["line 4, column id: 7 is in line 2 already"]),
            (
                "id,name\n7,\"a\nb\"\n",
                &[
                    "line 2, column name: the name holds a character that cannot be shown; write letters, digits, signs and spaces",
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
            ("id,name\n7,a\n8,A\n", &["line 3, column name: A is the name in line 2 already"]),
            (
                "id,criticality\n7,huge\n",
                &["line 2, column criticality: device 7: huge is not one of other, server, life-critical"],
            ),
            (
                "id,name\n7,12\n",
                &[
                    "line 2, column name: 12 cannot be a name, for it is a number or an address; put a word before it",
                ],
            ),
        ];
        for (text, expected) in cases {
            let found = import(text.as_bytes()).err().unwrap_or_default().told;
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{text:?}");
        }
        let latin = import(b"id,name\n7,a\n8,\xfcber\n").unwrap_err();
        assert_eq!(latin.to_string(), "line 3, column name: this is no UTF-8; save it as \"CSV UTF-8\"");
        let many = format!("id,name\n{}", "x,a\n".repeat(1_000));
        let many = import(many.as_bytes()).unwrap_err();
        // The number is none, the device is there already, and so is the name.
        assert_eq!((many.told.len(), many.more), (MISTAKES, 3_000 - 2 - MISTAKES));
        assert!(many.to_string().ends_with("\nand 2978 more"), "{many}");
        let several =
            import("id,name,place,approved\nx,12,{},maybe\n".replace("{}", &"p".repeat(65)).as_bytes());
        let columns: Vec<_> = several.unwrap_err().told.into_iter().filter_map(|told| told.column).collect();
        assert_eq!(columns, ["id", "approved", "name", "place"]);
    }

    #[test]
    fn a_line_with_addresses_of_two_devices_is_refused() {
        let mut ct = info(18, "CT 1", "");
        (ct.device.mac, ct.device.ips) = ("00:1b:21:00:00:08".to_owned(), vec!["10.0.0.8".to_owned()]);
        let mut gateway = info(1, "", "");
        (gateway.device.ips, gateway.gateway) = (vec!["10.0.0.8".to_owned()], true);
        let devices = [gateway, info(17, "MRI 2", ""), ct];
        let told = |addresses: &str| {
            let rows = import(format!("addresses,name\n\n{addresses},x\n").as_bytes()).unwrap();
            of_one_device(&rows, &devices).map_err(|problems| problems.to_string())
        };
        for one in ["10.0.0.7 fe80::7", "10.0.0.99 10.0.0.8", "10.0.0.7", "FE80:0::7 00:1B:21:00:00:07"] {
            assert_eq!(told(one), Ok(()), "{one}");
        }
        let want = "line 3, column addresses: 10.0.0.7 is device 17, MRI 2, and 10.0.0.8 is device 18, CT 1; write the \
                    addresses of one of them";
        assert_eq!(told("10.0.0.7 fe80::7 10.0.0.8"), Err(want.to_owned()));
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
            prop_assert_eq!(read[0].edit.name.as_deref().unwrap(), name.trim());
            prop_assert_eq!(read[0].edit.note.as_deref().unwrap(), note.trim());
        }
    }
}
