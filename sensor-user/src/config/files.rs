//! The files that a configuration names, as the daemon finds them at its start.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sensor_notify::settings::{Access, Channel, LampProtocol, Means, SYSTEM_CA};
use toml::de::{DeTable, DeValue};

use super::Config;
use super::problem::{Problem, Source};

/// Whoever is neither the owner nor of the group may read it.
const OTHERS_READ: u32 = 0o004;

/// What is wrong with them. What this account may not look at is not told: the daemon may.
pub fn files(config: &Config) -> Vec<Problem> {
    let source = Source::new(&config.text);
    let (document, _) = DeTable::parse_recoverable(&config.text);
    let line = |keys: &[&str]| line(&source, document.get_ref(), keys).unwrap_or(1);
    let mut problems = Vec::new();
    let mut add = |keys: &[&str], wrong: Option<(String, String)>| {
        let problem = |(what, hint)| Problem { line: line(keys), key: keys.join("."), what, hint };
        problems.extend(wrong.map(problem));
    };
    for (name, channel) in &config.daemon.notify.channels {
        for (key, path) in secrets(channel) {
            add(&["notify", "channels", name, key], secret(path));
        }
        add(&["notify", "channels", name, "ca_file"], authorities(channel).and_then(missing));
    }
    let flows = &config.daemon.flows;
    if !flows.s3_secret_file.as_os_str().is_empty() {
        add(&["flows", "s3_secret_file"], secret(&flows.s3_secret_file));
    }
    add(&["eve", "file"], config.daemon.eve.file.as_deref().and_then(unwritable));
    problems
}

/// The line of a key.
fn line(source: &Source, table: &DeTable, keys: &[&str]) -> Option<usize> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    let here = source.line(key.span().start);
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => line(source, table, rest).or(Some(here)),
        _ => Some(here),
    }
}

/// The files of a channel that hold what nobody else may know, with their keys.
fn secrets(channel: &Channel) -> Vec<(&'static str, &Path)> {
    let community = |path| vec![("community_file", path)];
    match &channel.means {
        Means::Mail(mail) => mail.login.iter().map(|(_, path)| ("password_file", path.as_path())).collect(),
        Means::Lamp(lamp) => match &lamp.protocol {
            LampProtocol::Snmp(_, Some(path)) => community(path.as_path()),
            _ => Vec::new(),
        },
        Means::Webhook(hook) => hook.secret_file.iter().map(|path| ("secret_file", path.as_path())).collect(),
        Means::Trap(trap) => match &trap.access {
            Access::Community(path) => path.iter().flat_map(|path| community(path)).collect(),
            Access::User(user) => {
                let privacy = user.privacy_file.iter().map(|path| ("privacy_file", path.as_path()));
                privacy.chain([("password_file", user.password_file.as_path())]).collect()
            }
        },
        Means::Syslog(_) => Vec::new(),
    }
}

/// The authorities it trusts, if they are not the system's.
fn authorities(channel: &Channel) -> Option<&Path> {
    let path = match &channel.means {
        Means::Mail(mail) => &mail.ca_file,
        Means::Webhook(hook) => &hook.ca_file,
        Means::Syslog(syslog) => &syslog.ca_file,
        Means::Lamp(_) | Means::Trap(_) => return None,
    };
    Some(path.as_path()).filter(|path| *path != Path::new(SYSTEM_CA))
}

fn missing(path: &Path) -> Option<(String, String)> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(_) => Some((format!("{} is no file", path.display()), "name a file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => {
            let hint = "put it there, or name the right one".to_owned();
            Some((format!("{} cannot be read: {error}", path.display()), hint))
        }
    }
}

fn secret(path: &Path) -> Option<(String, String)> {
    let open = || {
        let meta = fs::metadata(path).ok().filter(|meta| meta.mode() & OTHERS_READ != 0)?;
        let what = format!("{} can be read by everybody (mode {:04o})", path.display(), meta.mode() & 0o7777);
        Some((what, format!("chmod o= {}", path.display())))
    };
    missing(path).or_else(open)
}

/// The daemon makes the directories that are not there.
fn unwritable(path: &Path) -> Option<(String, String)> {
    if path.is_dir() {
        return Some((format!("{} is a directory", path.display()), "name a file in it".to_owned()));
    }
    let above = path.ancestors().skip(1).find(|dir| dir.symlink_metadata().is_ok())?;
    let wrong = !above.is_dir();
    wrong.then(|| (format!("{} is no directory", above.display()), "name another directory".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_that_are_not_as_they_must_be_are_told_with_their_keys_and_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for (name, mode) in [("open", 0o644), ("good", 0o640)] {
            fs::write(path(name), "secret").unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
        let mail = |name: &str, password: &str| {
            format!(
                "[notify.channels.{name}]\nkind = \"mail\"\nserver = \"m\"\nfrom = \"a@b.jp\"\nto = [\"a@b.jp\"]\n\
                 user = \"u\"\npassword_file = \"{}\"\n",
                path(password)
            )
        };
        let told = |text: &str| {
            let problems = files(&crate::config::parse(text.as_bytes()).unwrap());
            problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
        };
        let good = format!("[eve]\nfile = \"{}\"\n{}", path("new/directory/eve.json"), mail("it", "good"));
        assert_eq!(told(&good), "");
        let bad = format!("[eve]\nfile = \"{}\"\n{}", path("good/eve.json"), mail("it", "none"));
        let told = told(&format!("{bad}{}", mail("desk", "open")));
        for want in [
            format!("line 2: eve.file: {} is no directory", path("good")),
            format!(
                "line 9: notify.channels.it.password_file: {} cannot be read: No such file",
                path("none")
            ),
            format!(
                "line 16: notify.channels.desk.password_file: {} can be read by everybody (mode 0644)",
                path("open")
            ),
        ] {
            assert!(told.contains(&want), "{want}\n{told}");
        }
    }
}
