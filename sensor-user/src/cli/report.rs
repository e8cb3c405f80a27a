//! `sekisho report`: a month, for people who are no analysts.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use rustix::process::{Pid, Signal};
use sensor_core::addr::Mac;
use sensor_flowlog::FlowLogError;
use sensor_flowlog::totals::{Total, Totals, totals};
use sensor_journal::Query;
use sensor_report::html::{self, Language};
use sensor_report::{Device, Event, Gather, Month, Passed, Report, Traffic, csv};
use serde_json::Value;

use super::client::Client;
use super::counted::{Counted, counted};
use super::csv::MARK;
use super::events::StateArgs;
use super::pack::host;
use super::{CliError, show};
use crate::clock::Stamp;
use crate::protocol::{DEFAULT_SOCKET, DeviceInfo, Request};
use crate::{disk, drill, flows, label, say};

/// Services that send passwords in the clear, or let in whoever knows the protocol: FTP, Telnet, rexec, rlogin, rsh, VNC.
const WEAK: [(u16, &str); 6] =
    [(21, "FTP"), (23, "Telnet"), (512, "rexec"), (513, "rlogin"), (514, "rsh"), (5_900, "VNC")];
/// Judgements of a month's incidents count until so long after it; what began at most so long before it is known, ns: 60 days.
const AROUND: i64 = 60 * 86_400_000_000_000;
/// 2026-01-01T00:00:00Z, ns since 1970. What says an earlier time has it of a clock that nobody had set yet: there was no release.
const RELEASED: i64 = 1_767_225_600_000_000_000;
/// Printing a page takes some seconds.
const PRINTS_WITHIN: Duration = Duration::from_secs(60);
/// Programs that print a page, by the names distributions give them.
const PRINTERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// How to write it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// A page that needs nothing else
    #[default]
    Html,
    /// The same, printed by Chromium
    Pdf,
    /// The incidents, a line each
    Csv,
    /// The figures of the month as CSV, a line each
    Figures,
}

/// In which language.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lang {
    /// Japanese
    #[default]
    Ja,
    /// English
    En,
}

/// `sekisho report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The month, like 2026-10; without this the last whole one
    #[arg(long, value_name = "MONTH")]
    pub month: Option<Month>,
    /// How to write it
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Form,
    /// In which language
    #[arg(long, value_enum, default_value_t, value_name = "LANGUAGE")]
    pub lang: Lang,
    /// Where to write it; without this to standard output
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// CSV: begin it so that Excel takes it for UTF-8
    #[arg(long)]
    pub excel: bool,
    /// The daemon's socket: it knows the devices
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Carries it out.
pub fn report(args: &ReportArgs) -> Result<bool, CliError> {
    let (zone, now) = (TimeZone::system(), Stamp::now());
    let month = args.month.unwrap_or_else(|| Month::before(now.0, &zone));
    if args.output == Form::Pdf && args.file.is_none() && io::stdout().is_terminal() {
        return Err(CliError::Screen);
    }
    let report = gather(args, month, &zone, now)?;
    if args.output == Form::Csv
        && let Some(left_out) = left_out(&report)
    {
        say::err(left_out);
    }
    let page = || {
        let language = match args.lang {
            Lang::Ja => Language::Japanese,
            Lang::En => Language::English,
        };
        html::page(&report, language, &host(), now.0, &zone)
    };
    let mark = if args.excel { MARK } else { "" };
    let bytes = match args.output {
        Form::Html => page().into_bytes(),
        Form::Csv => format!("{mark}{}", csv::incidents(&report, &zone)?).into_bytes(),
        Form::Figures => format!("{mark}{}", csv::figures(&report, &zone)?).into_bytes(),
        Form::Pdf => print(&page())?,
    };
    match &args.file {
        None => io::stdout().write_all(&bytes)?,
        Some(file) => {
            disk::write(file, &bytes).map_err(|source| CliError::File {
                doing: "write",
                path: file.clone(),
                source,
            })?;
            say::out(format_args!("The report of {month} is in {}.", file.display()));
        }
    }
    Ok(true)
}

/// That the list of incidents lacks some, which nobody would see in it.
fn left_out(report: &Report) -> Option<String> {
    let (more, all) = (report.more_incidents, report.count());
    let told = report.incidents.len();
    (more > 0).then(|| {
        format!("{more} of the month's {all} incidents are not in the list, which has the first {told}; `sekisho incidents --all` shows the others")
    })
}

fn gather(args: &ReportArgs, month: Month, zone: &TimeZone, now: Stamp) -> Result<Report, CliError> {
    let (from, to) = month.range(zone);
    let journal = args.state.journal()?;
    let mut first = None;
    journal.each(&Query { from_ns: Some(RELEASED), ..Query::default() }, |record| {
        first = Some(record.entry.time_ns);
        false
    })?;
    let Some(first) = first.filter(|first| *first < to && from < now.0) else {
        let since = first.map_or_else(|| "now".to_owned(), |first| Stamp(first).local(zone));
        return Err(CliError::NoMonth { month: month.to_string(), since });
    };
    let drills = [drill::SCANNER, drill::REFUSER].map(|mac| Mac(mac).to_string()).to_vec();
    let mut gather = Gather::new(month, zone.clone(), (first, now.0), drills);
    let kinds = [
        "alert",
        "isolation",
        "approval",
        "judgement",
        "blind",
        "bypass",
        "inventory",
        "daemon",
        "journal",
        "device",
        "order",
    ];
    let query = Query {
        from_ns: Some(from.saturating_sub(AROUND)),
        to_ns: Some(to.saturating_add(AROUND)),
        kinds: kinds.map(str::to_owned).to_vec(),
        ..Query::default()
    };
    journal.each(&query, |record| {
        let entry = &record.entry;
        // What is no JSON is none of ours.
        let body: Value = serde_json::from_str(&entry.body).unwrap_or_default();
        gather.event(&Event {
            time_ns: entry.time_ns,
            kind: &entry.kind,
            incident: entry.incident,
            body: &body,
        });
        true
    })?;
    if args.output == Form::Csv {
        return Ok(gather.finish(None, None));
    }
    let totals = traffic(&args.state.state_dir.join(flows::DIR), (from / 1_000, to / 1_000))?;
    let served = totals.as_ref().map(|totals| &totals.served);
    let weak = |ids: &BTreeSet<u64>| {
        let ports = ids.iter().filter_map(|id| served?.get(id)).flatten().collect::<BTreeSet<_>>();
        let name =
            |port: &u16| WEAK.iter().find(|(weak, _)| weak == port).map(|(_, name)| (*name).to_owned());
        ports.into_iter().filter_map(name).collect()
    };
    let devices = known(&args.socket)
        .map(|known| counted(&known).iter().map(|one| device(one, weak(&one.ids))).collect());
    Ok(gather.finish(devices, totals.map(passed)))
}

/// The devices that the daemon knows; none if it does not tell.
fn known(socket: &Path) -> Option<Vec<DeviceInfo>> {
    let asked = Client::connect(socket).and_then(|mut client| {
        let answer = client.ask(Request::Devices)?;
        client.read(answer)
    });
    asked.inspect_err(|error| say::err(format_args!("the report is made without devices: {error}"))).ok()
}

/// What passed by the log of conversations; none if there is no log.
fn traffic(dir: &Path, time: (i64, i64)) -> Result<Option<Totals>, CliError> {
    let (mut told, shows) = (0, io::stderr().is_terminal());
    let ports = WEAK.map(|(port, _)| port);
    let added = totals(dir, time, &ports, &mut |part| {
        let percent = (part * 100.0) as u32;
        if shows && percent > told {
            told = percent;
            say::progress(format_args!("reading the log of conversations: {percent:3} %"));
        }
    });
    if told > 0 {
        say::progress("");
    }
    match added {
        Ok(totals) => {
            if totals.unread.count > 0 {
                say::err(&totals.unread);
            }
            Ok(Some(totals).filter(|totals| totals.hours > 0))
        }
        Err(FlowLogError::NoLog(_)) => Ok(None),
        Err(error) => Err(CliError::FlowLog(error)),
    }
}

fn passed(totals: Totals) -> Passed {
    let Totals { segments, hours, unread, .. } = totals;
    let traffic = |(segment, total): (Option<String>, Total)| Traffic {
        segment,
        conversations: total.conversations,
        bytes: total.bytes,
        dropped: total.dropped,
    };
    let mut segments: Vec<_> = segments.into_iter().map(traffic).collect();
    segments.sort_by_key(|traffic| std::cmp::Reverse(traffic.bytes));
    Passed { segments, hours, unread: unread.count }
}

fn device(one: &Counted, weak: Vec<String>) -> Device {
    let info = &one.info;
    let switch = info.switch.as_ref().and_then(|switch| switch.name.clone());
    Device {
        id: info.device.id,
        name: show::name(&info.device),
        maker: info.device.maker.clone(),
        kind: info.kind.as_ref().map(|kind| kind.name.clone()),
        place: info.card.place.clone().or(switch),
        port: info.port.clone(),
        approved: info.card.approved,
        first_seen_ns: info.first_seen.map(|at| at.0),
        last_seen_ns: info.last_seen.map(|at| at.0),
        weak,
        addresses: one.macs.iter().chain(&info.device.ips).chain(&info.card.merged).cloned().collect(),
        gateway: info.gateway,
    }
}

/// Has a page printed. Chromium writes to a file alone. It runs what is in a page with less rights than its own, but not as root:
/// a page of ours has nothing to run, and says so.
fn print(page: &str) -> Result<Vec<u8>, CliError> {
    let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
    let dir = dir.path();
    let (from, to) = (dir.join("report.html"), dir.join("report.pdf"));
    std::fs::write(&from, page)?;
    for program in PRINTERS {
        let mut command = Command::new(program);
        command.args(["--headless", "--disable-gpu", "--no-pdf-header-footer"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
        command.arg(format!("--print-to-pdf={}", to.display())).arg(&from);
        let said = dir.join("said");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
        // It has children, which are to end with it.
        command.process_group(0);
        let mut child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            child => child?,
        };
        let done = wait(&mut child)?;
        let pdf = std::fs::read(&to).unwrap_or_default();
        if done && pdf.starts_with(b"%PDF") {
            return Ok(pdf);
        }
        let said = std::fs::read(&said)?;
        let said = String::from_utf8_lossy(&said);
        return Err(CliError::Printer(label::plain(said.lines().last().unwrap_or("it said nothing"))));
    }
    Err(CliError::NoPrinter)
}

/// Whether it ends well within a minute; else it is ended.
fn wait(child: &mut Child) -> io::Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < PRINTS_WITHIN {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let group = Pid::from_child(child);
    rustix::process::kill_process_group(group, Signal::KILL)?;
    child.wait().map(|_| false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use sensor_journal::{Entry, Journal, Keeping};

    use super::*;

    fn args(state_dir: &Path) -> ReportArgs {
        ReportArgs {
            month: None,
            output: Form::Csv,
            lang: Lang::En,
            file: None,
            excel: false,
            socket: state_dir.join("socket"),
            state: StateArgs { state_dir: state_dir.to_owned() },
        }
    }

    /// A box without a battery begins in 1970, and had its journal before somebody told it the time.
    #[test]
    fn the_time_before_a_clock_was_set_is_not_taken_for_time_that_was_watched() {
        let dir = tempfile::tempdir().unwrap();
        let begin = "2026-11-10T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64;
        let mut journal = Journal::open(dir.path(), Keeping { days: 400, rows: 1_000 }, 0).unwrap();
        let started = Entry {
            time_ns: begin,
            kind: "daemon".to_owned(),
            body: r#"{"daemon":{"action":"start"}}"#.to_owned(),
            ..Entry::default()
        };
        journal.write(&[started]).unwrap();
        journal.close().unwrap();
        let now = Stamp(begin + 86_400_000_000_000);
        let of = |month: &str| gather(&args(dir.path()), month.parse().unwrap(), &TimeZone::UTC, now);
        assert_eq!(of("2026-11").unwrap().range, (begin, now.0));
        for month in ["1970-01", "2026-10"] {
            let error = of(month).unwrap_err().to_string();
            assert!(error.contains(&format!("there is nothing of {month}")), "{error}");
        }
    }

    #[test]
    fn a_list_that_lacks_incidents_says_so() {
        let month: Month = "2026-11".parse().unwrap();
        let mut report = Gather::new(month, TimeZone::UTC, (0, i64::MAX), Vec::new()).finish(None, None);
        assert_eq!(left_out(&report), None);
        report.more_incidents = 5;
        let said = left_out(&report).unwrap();
        assert!(said.starts_with("5 of the month's 5 incidents are not in the list"), "{said}");
    }

    /// A daemon that does not run, hangs up or talks nonsense is no reason to have no report.
    #[test]
    fn without_an_answer_there_are_no_devices_and_a_report_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert_eq!(known(&path), None);
        let socket = UnixListener::bind(&path).unwrap();
        let answers = ["", "what?\n", "{\"version\":0,\"ok\":[]}\n"];
        thread::scope(|scope| {
            scope.spawn(|| {
                for answer in answers {
                    socket.accept().unwrap().0.write_all(answer.as_bytes()).unwrap();
                }
            });
            answers.iter().for_each(|answer| assert_eq!(known(&path), None, "{answer}"));
        });
        File::create(dir.path().join("file")).unwrap();
        assert_eq!(known(&dir.path().join("file")), None);
    }
}
