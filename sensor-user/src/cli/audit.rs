//! `sekisho audit`: who decided what, whether the record of it is whole, and packs of incidents verified.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sensor_journal::pack::{self, Checked, MAX_PACK};
use sensor_journal::{
    Claim, DATABASE, JournalError, PublicKey, Query, Reader, Record, SigningKey, Verified, hex, verify,
};
use serde_json::{Value, json};

use super::args::{Output, OutputArgs};
use super::events::{self, StateArgs};
use super::when::SpanArgs;
use super::{CliError, fail, run};
use crate::label;

/// Kinds of events that are decisions and orders.
const DECISIONS: [&str; 9] =
    ["isolation", "bypass", "order", "approval", "judgement", "window", "inventory", "daemon", "journal"];

/// `sekisho audit ...`.
#[derive(Subcommand, Debug)]
pub enum AuditTask {
    /// Check that the record of decisions is whole: none changed, none missing, none added
    #[command(after_long_help = "\
Ends as a Nagios check does: 0 it is whole, 1 somebody should look (nothing is at hand to compare its end with, say), 2 a record \
does not fit, which is named, 3 it could not be read. It needs no daemon, and works on a copy.

What it shows as `head` is worth writing down somewhere else from time to time: given back with --head, it proves that nothing \
up to there was changed, by nobody, not even by root of this machine.

Examples:
  sekisho audit verify
  sekisho audit verify --head 1234:9f86d081884c
  sekisho audit verify /mnt/evidence/journal.db --key 3b6a27bc...")]
    Verify(VerifyArgs),
    /// Show decisions and orders, with the numbers and hashes of their records
    List(ListArgs),
    /// Show the public key that packs and the record are signed with
    Key(KeyArgs),
    /// Check a pack that `sekisho incidents pack` made
    #[command(after_long_help = "\
Works on any machine. Ends as a Nagios check does: 0 it is as it was made and sealed with the key given (or with this machine's), \
1 it is whole, but whose key it is was not said, 2 something does not fit, which is named, 3 it could not be read.

Examples:
  sekisho audit verify-pack incident-12.zip --key 3b6a27bc...")]
    VerifyPack(VerifyPackArgs),
}

/// `sekisho audit verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// A copy of journal.db; without this the daemon's
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The public key it must be signed with; without this the one beside it
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<PublicKey>,
    /// A head that was written down; may be given several times
    #[arg(long = "head", value_name = "RECORD:HASH")]
    pub heads: Vec<Claim>,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho audit list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// When.
    #[command(flatten)]
    pub span: SpanArgs,
    /// So many at most, the newest; 0: all
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub newest: u64,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show them.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho audit key`.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho audit verify-pack`.
#[derive(Args, Debug)]
pub struct VerifyPackArgs {
    /// The pack
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The public key of the box it is from; without this the one of this machine, if it has one
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<PublicKey>,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

fn key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text)
        .ok_or_else(|| "a public key has 64 hexadecimal digits, as `sekisho audit key` shows it".to_owned())
}

/// Carries it out; gives the exit code.
pub fn carry_out(task: &AuditTask) -> ExitCode {
    let mut out = io::stdout().lock();
    match audit(task, &mut out) {
        Ok(code) => ExitCode::from(code),
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let failed = fail(&error);
            // As Nagios has it: it could not be found out.
            if matches!(task, AuditTask::Verify(_) | AuditTask::VerifyPack(_)) {
                ExitCode::from(3)
            } else {
                failed
            }
        }
    }
}

/// The same onto any output.
pub fn audit(task: &AuditTask, out: &mut impl Write) -> Result<u8, CliError> {
    match task {
        AuditTask::Verify(args) => chain(args, out),
        AuditTask::List(args) => list(args, out).map(|()| 0),
        AuditTask::Key(args) => show_key(args, out).map(|()| 0),
        AuditTask::VerifyPack(args) => verify_pack(args, out),
    }
}

/// The exit code of a check.
fn code(faults: &[String], doubts: &[String]) -> u8 {
    match (faults, doubts) {
        ([], []) => 0,
        ([], _) => 1,
        _ => 2,
    }
}

fn chain(args: &VerifyArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let path = args.file.clone().unwrap_or_else(|| args.state.state_dir.join(DATABASE));
    let mut found = match Reader::open(&path) {
        // That there was one is known, so this is no check that could not be made.
        Err(error @ JournalError::Gone { .. }) => {
            Verified { faults: vec![error.to_string()], ..Verified::default() }
        }
        reader => verify(&reader?, args.key, &args.heads)?,
    };
    if args.file.is_none() {
        found.doubts.extend(lost_key(&args.state.state_dir));
    }
    let code = code(&found.faults, &found.doubts);
    let text = match args.output.output {
        Output::Json => run::json(&chain_json(&found, code)),
        Output::Human => chain_words(&found),
    };
    out.write_all(text.as_bytes())?;
    Ok(code)
}

fn chain_json(found: &Verified, code: u8) -> Value {
    let head = found
        .head
        .as_ref()
        .map(|head| json!({ "chain": head.chain, "record": head.link, "hash": hex(&head.hash) }));
    json!({
        "whole": found.faults.is_empty(),
        "code": code,
        "records": found.records,
        "first": found.first,
        "head": head,
        "faults": found.faults,
        "doubts": found.doubts,
    })
}

fn chain_words(found: &Verified) -> String {
    let mut text = String::new();
    for fault in &found.faults {
        text.push_str(&format!("DOES NOT FIT: {}\n", label::plain(fault)));
    }
    for doubt in &found.doubts {
        text.push_str(&format!("look: {}\n", label::plain(doubt)));
    }
    let records = label::count(found.records, "record", "records");
    if found.faults.is_empty() {
        text.push_str(&format!("The record of decisions is whole: {records}, from {} on.\n", found.first));
    } else {
        text.push_str(&format!("Only {records} before that fit.\n"));
    }
    if let Some(head) = &found.head {
        text.push_str(&format!("head {}:{}\n", head.link, hex(&head.hash)));
    }
    text
}

fn list(args: &ListArgs, out: &mut impl Write) -> Result<(), CliError> {
    let span = args.span.checked()?;
    let query = Query {
        from_ns: span.from.map(|from| from.0),
        to_ns: span.to.map(|to| to.0),
        kinds: DECISIONS.map(str::to_owned).to_vec(),
        newest: (args.newest > 0).then_some(args.newest),
        ..Query::default()
    };
    let here = run::here();
    let line = |record: &Record| match args.output.output {
        Output::Json => pack::line(record).map_or_else(String::new, |line| line + "\n"),
        Output::Human => {
            let (number, hash) =
                record.link.map_or((0, String::new()), |link| (link.number, hex(&link.hash)));
            let hash = hash.get(..12).unwrap_or_default();
            format!("{number:>7} {hash:<12} {}", events::sentence(record, &here))
        }
    };
    let count = events::each(&args.state.journal()?, &query, out, line)?;
    if count == 0 && args.output.output == Output::Human {
        writeln!(out, "Nothing was decided or ordered.")?;
    }
    Ok(())
}

fn show_key(args: &KeyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let dir = &args.state.state_dir;
    let key = match PublicKey::beside(dir) {
        Some(key) => key,
        None => SigningKey::open(dir)?.public(),
    };
    let former: Vec<_> = PublicKey::former(dir).iter().map(ToString::to_string).collect();
    match args.output.output {
        Output::Json => {
            let told =
                json!({ "public_key": key.to_string(), "former": former, "lost": !SigningKey::exists(dir) });
            out.write_all(run::json(&told).as_bytes())?;
        }
        Output::Human => {
            writeln!(out, "{key}")?;
            for before in &former {
                writeln!(out, "look: {before} was lost; what it signed is verified with it alone")?;
            }
            if let Some(doubt) = lost_key(dir) {
                writeln!(out, "look: {doubt}")?;
            }
        }
    }
    Ok(())
}

/// What is to be said where a key has signed, and is not there any more.
fn lost_key(dir: &Path) -> Option<String> {
    let key = PublicKey::beside(dir).filter(|_| !SigningKey::exists(dir))?;
    Some(format!(
        "the signing key of {key} is missing in {}: whoever signs next makes another",
        dir.display()
    ))
}

fn verify_pack(args: &VerifyPackArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let bytes = read(&args.file)?;
    let key = args.key.or_else(|| PublicKey::beside(&args.state.state_dir));
    let checked = pack::check(&bytes, key);
    let mut doubts = Vec::new();
    if key.is_none() && checked.faults.is_empty() {
        doubts.push(
            "whose key that is was not checked: compare it with what `sekisho audit key` shows on the box, or give that with --key"
                .to_owned(),
        );
    }
    let code = code(&checked.faults, &doubts);
    let text = match args.output.output {
        Output::Json => run::json(&json!({
            "whole": checked.faults.is_empty(),
            "code": code,
            "key": checked.key.map(|key| key.to_string()),
            "manifest": checked.manifest,
            "files": checked.files,
            "records": checked.records,
            "faults": checked.faults,
            "doubts": doubts,
        })),
        Output::Human => pack_words(&checked, &doubts),
    };
    out.write_all(text.as_bytes())?;
    Ok(code)
}

fn pack_words(checked: &Checked, doubts: &[String]) -> String {
    let mut text = String::new();
    for fault in &checked.faults {
        text.push_str(&format!("DOES NOT FIT: {}\n", label::plain(fault)));
    }
    if checked.faults.is_empty() {
        let made = checked.manifest["made"].as_str().unwrap_or("?");
        let incident = &checked.manifest["incident"];
        text.push_str(&format!(
            "The pack of incident {incident} is as it was made ({}): {} with {} of the journal.\n",
            label::plain(made),
            label::count(checked.files as u64, "file", "files"),
            label::count(checked.records as u64, "record", "records"),
        ));
    }
    if let Some(key) = checked.key {
        text.push_str(&format!("sealed with the key {key}\n"));
    }
    doubts.iter().for_each(|doubt| text.push_str(&format!("look: {doubt}\n")));
    text
}

/// Reads a pack, if it can be one by its size.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let wrong = |source| CliError::File { doing: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(wrong)?.take(MAX_PACK + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MAX_PACK {
        return Err(wrong(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than a pack can be")));
    }
    Ok(bytes)
}
