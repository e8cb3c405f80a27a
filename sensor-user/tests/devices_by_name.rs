//! What a device was called by `devices set` is known wherever an address is, also while no daemon runs.

// Tests may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use sensor_core::addr::Mac;
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::policy::Save;
use sensor_journal::{Entry, Keeper, Keeping};
use sensor_user::clock::Now;
use sensor_user::store::Store;

/// The exit code of a command, and all it says.
fn says(state: &Path, line: &[&str]) -> (Option<i32>, String) {
    let command =
        Command::new(env!("CARGO_BIN_EXE_sekisho")).args(line).arg("--state-dir").arg(state).output();
    let done = command.unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn devices_are_known_by_name_and_number_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    fs::create_dir(state.join("flows")).unwrap();
    let keys = vec![DeviceKey::Local(Mac([0, 0x1b, 0x21, 0, 0, 7]))];
    let card = Card { id: 17, keys, name: Some("MRI B".to_owned()), ..Card::default() };
    Store::open(state).unwrap().save(&[Save::Card(Box::new(card))], Now::read()).unwrap();
    let keeper = Keeper::start(state, Keeping { days: 400, rows: 100 }, || 0).unwrap();
    // From before it had a name.
    keeper.add(Entry {
        kind: "device".to_owned(),
        device: Some(17),
        mac: Some("00:1b:21:00:00:07".to_owned()),
        body: "{}".to_owned(),
        words: "a new device".to_owned(),
        ..Entry::default()
    });
    drop(keeper);
    for end in ["--host", "--peer"] {
        for device in ["MRI B", "mri b", "17", "00:1b:21:00:00:07"] {
            let said = says(state, &["flows", "query", "--from", "2h", end, device]);
            assert_eq!(said, (Some(0), "no conversation in that time\n".to_owned()), "{end} {device}");
        }
        for device in ["nobody", "18"] {
            let (code, said) = says(state, &["flows", "query", "--from", "2h", end, device]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("is neither an address nor a known device"), "{said}");
        }
    }
    for device in ["MRI B", "17", "00:1b:21:00:00:07"] {
        let (code, said) = says(state, &["events", "--device", device]);
        assert!(code == Some(0) && said.ends_with(" a new device\n"), "{device}: {said}");
        let said = says(state, &["events", "--device", device, "--kind", "alert"]);
        assert_eq!(said, (Some(0), "No events.\n".to_owned()), "{device}");
    }
    for device in ["nobody", "5"] {
        let want =
            format!("sekisho: no device is known as {device}; `sekisho devices` shows those there are\n");
        assert_eq!(says(state, &["events", "--device", device]), (Some(1), want));
    }
    let (code, said) = says(state, &["events", "--from", "2200-01-01"]);
    assert!(code == Some(1) && said.contains("is in the future"), "{said}");
    // Where it cannot be read who that is, that is what is wrong.
    fs::write(state.join("sekisho.db"), "no database at all").unwrap();
    let (code, said) = says(state, &["flows", "query", "--from", "2h", "--host", "MRI B"]);
    assert!(code == Some(1) && said.contains("sekisho.db"), "{said}");
}
