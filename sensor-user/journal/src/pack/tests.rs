//! Packs made, verified, spoilt.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::chain::Hash;
use crate::entry::{Entry, Link, Record};
use crate::key::PublicKey;

fn key() -> (TempDir, SigningKey) {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::open(dir.path()).unwrap();
    (dir, key)
}

fn record(number: u64) -> Record {
    let entry = Entry {
        time_ns: number as i64,
        kind: "alert".to_owned(),
        incident: Some(3),
        body: r#"{"sum":{"nats":27.730000000000001},"ä":[1]}"#.to_owned(),
        words: "ward \"3\"".to_owned(),
        ..Entry::default()
    };
    let before: Hash = sha256(b"before");
    let hash = crate::chain::link(&before, number, &entry);
    Record { id: 1, entry, link: Some(Link { number, hash, before: Some(before) }) }
}

fn part(name: &str, text: &str) -> Part {
    Part { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

fn small(key: &SigningKey) -> Vec<u8> {
    let lines = [line(&record(4)).unwrap(), line(&record(5)).unwrap()].join("\n");
    let facts = json!({ "incident": 3 }).as_object().unwrap().clone();
    seal(facts, &[part(EVENTS, &lines), part("report.html", "<p>R</p>")], key).unwrap()
}

#[test]
fn a_pack_is_whole_as_it_was_made_and_any_tool_unpacks_it() {
    let (_dir, key) = key();
    let pack = small(&key);
    for given in [None, Some(key.public())] {
        let checked = check(&pack, given);
        assert_eq!(checked.faults, [""; 0]);
        assert_eq!((checked.key, checked.files, checked.records), (Some(key.public()), 2, 2));
        assert_eq!(checked.manifest["incident"], 3);
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(&pack[..])).unwrap();
    let names: Vec<_> = archive.file_names().map(str::to_owned).collect();
    assert_eq!(names, [MANIFEST, SIGNATURE, EVENTS, "report.html"]);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut archive.by_name("report.html").unwrap(), &mut text).unwrap();
    assert_eq!(text, "<p>R</p>");
}

#[test]
fn no_byte_of_a_pack_can_be_changed() {
    let (_dir, key) = key();
    let pack = small(&key);
    for at in 0..pack.len() {
        // Verified with the key, and with the one that the pack names itself.
        for (mask, given) in [(1 << (at % 8), Some(key.public())), (0xff, None)] {
            let mut changed = pack.clone();
            changed[at] ^= mask;
            assert_ne!(check(&changed, given).faults, [""; 0], "byte {at}, {mask:02x}");
        }
    }
    for length in 0..pack.len() {
        assert_ne!(check(&pack[..length], None).faults, [""; 0], "cut to {length}");
    }
    let longer = [&pack[..], b"x"].concat();
    assert_ne!(check(&longer, None).faults, [""; 0]);
}

/// What is changed of the files of a pack before it is put together again, and what must be told.
fn check_told(parts: impl Fn(&mut Vec<(String, Vec<u8>)>), want: &str) {
    let (_dir, key) = key();
    let pack = small(&key);
    let mut archive = zip::ZipArchive::new(Cursor::new(&pack[..])).unwrap();
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        files.push((file.name().to_owned(), bytes));
    }
    parts(&mut files);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.set_raw_comment(pack[pack.len() - SEAL_LENGTH..].to_vec().into());
    for (name, bytes) in &files {
        // The same files, packed in another way.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file(name.as_str(), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    let faults = check(&archive.finish().unwrap().into_inner(), Some(key.public())).faults;
    assert!(faults.iter().any(|fault| fault.contains(want)), "{want}: {faults:?}");
}

#[test]
fn what_was_changed_is_named() {
    check_told(|files| files[3].1[1] = b'P', "report.html was changed");
    check_told(|files| drop(files.remove(3)), "report.html is missing");
    check_told(|files| files.push(("more".to_owned(), Vec::new())), "more was added");
    check_told(|files| files[0].1.push(b' '), "manifest.json was changed");
    check_told(|files| files[1].1[0] ^= 1, "manifest.json was changed, or manifest.sig");
    check_told(|files| drop(files.remove(0)), "manifest.json was changed");
    check_told(|_| (), "none of its files was");
    check_told(
        |files| {
            let text = String::from_utf8(files[2].1.clone()).unwrap().replacen("27.73", "7.73", 1);
            files[2].1 = text.into_bytes();
        },
        "line 1: record 4 does not fit its hash",
    );
}

#[test]
fn another_box_cannot_seal_for_this_one() {
    let ((_dir, key), (_other_dir, other)) = (key(), self::key());
    let checked = check(&small(&other), Some(key.public()));
    assert!(checked.faults[0].contains("another key"), "{checked:?}");
}

#[test]
fn a_row_that_lies_about_its_hash_is_named_though_the_pack_is_sealed() {
    let (_dir, key) = key();
    let mut forged = record(4);
    forged.entry.words = "nothing".to_owned();
    let mut loose = record(5);
    loose.link = None;
    let lines = [line(&forged).unwrap(), line(&loose).unwrap(), "{}".to_owned()].join("\n");
    let faults = check(&seal(Map::new(), &[part(EVENTS, &lines)], &key).unwrap(), None).faults;
    let want = ["line 1: record 4 does not fit", "line 2: it has no place", "line 3: it is not understood"];
    assert_eq!(faults.len(), 3, "{faults:?}");
    faults.iter().zip(want).for_each(|(fault, want)| assert!(fault.contains(want), "{fault}"));
}

#[test]
fn a_small_archive_that_grows_without_end_is_refused() {
    let (_dir, key) = key();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let zeros = vec![0; 1 << 20];
    archive.start_file("zeros", options).unwrap();
    (0..300).for_each(|_| archive.write_all(&zeros).unwrap());
    let bytes = archive.finish().unwrap().into_inner();
    let checked = check(&bytes, Some(key.public()));
    assert!(checked.faults.iter().any(|fault| fault.contains("more than")), "{checked:?}");
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..100 {
        archive.start_file(format!("{number}"), options).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    assert!(check(&bytes, None).faults.iter().any(|fault| fault.contains("64 files")));
}

proptest! {
    #[test]
    fn whatever_is_given_is_no_pack_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!check(&bytes, None).faults.is_empty());
        prop_assert!(!check(&bytes, Some(PublicKey([1; 32]))).faults.is_empty());
    }

    #[test]
    fn no_line_panics(text in "(\\{\"record\":[0-9]{1,3},\"hash\":\"[0-9a-f]{0,64}\",)?.{0,60}") {
        let _ = super::line::check(&text);
    }
}
