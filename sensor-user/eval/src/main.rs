//! `eval`: replays every capture, holds it against the table of expectations, and writes the report.
//!
//! Exit codes: 0 all targets reached that decide (those on real captures), 1 not, or something failed. What is asked of made-up
//! sites is an aim, and reported.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sensor_eval::attack::{self, KINDS};
use sensor_eval::contest::Split;
use sensor_eval::expect::{self, Expected};
use sensor_eval::held::{self, Held};
use sensor_eval::runs::Trial;
use sensor_eval::years::Extent;
use sensor_eval::{contest, leak, packets, picture, report, speed, spoilt, synthetic, told, transplant};
use sensor_user::cli::table::screen_width;

/// Holds the detectors against real captures with ground truth.
#[derive(Parser)]
#[command(name = "cargo xtask eval", bin_name = "cargo xtask eval")]
struct Args {
    /// The folder of captures, with manifest.tsv
    #[arg(long, value_name = "DIR", default_value = "../shared/data")]
    data: PathBuf,
    /// The table of expectations [default: expect.tsv in the folder]
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Where report.md and report.json go
    #[arg(long, value_name = "DIR", default_value = "target/eval")]
    out: PathBuf,
    /// Seeds of the made-up sites; tune on 1-3 only
    #[arg(long, value_name = "A-B", default_value = "4-7", value_parser = seeds)]
    seeds: Seeds,
    /// Hosts of a made-up site; 0: no made-up sites
    #[arg(long, value_name = "N", default_value_t = 300)]
    hosts: usize,
    /// Days a site lives without an attack (a year of 5,000 hosts takes about two hours a seed)
    #[arg(long, value_name = "N", default_value_t = 4)]
    days: u64,
    /// How often each confounder comes in a site's time
    #[arg(long, value_name = "N", default_value_t = 3)]
    confounders: usize,
    /// Runs of each kind of attack, for each site; 0: nothing that takes attacks is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Only attacks whose name in the report has this part, against the product alone: many runs of few kinds say how often one
    /// is caught
    #[arg(long, value_name = "PART", value_parser = kinds)]
    attack: Option<Attacks>,
    /// Days that a site is learned before attacks come. In the contest half as many more set thresholds before that: of 14,
    /// days 1-14, 15-21, and 22 on. Fewer are quicker
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u64).range(1..))]
    learned: u64,
    /// Seconds of real frames on a real bridge, at most 600; 0: none. Needs root
    #[arg(long, value_name = "SECONDS", default_value_t = 80, value_parser = clap::value_parser!(u16).range(..=600))]
    wire: u16,
}

/// A range of seeds.
#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

fn seeds(text: &str) -> Result<Seeds, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no seed; write them like 4-7"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        Err(format!("{first} is greater than {last}"))
    } else {
        Ok(Seeds((first..=last).collect()))
    }
}

/// Kinds of attacks.
#[derive(Clone, Debug)]
struct Attacks(Vec<usize>);

fn kinds(part: &str) -> Result<Attacks, String> {
    let found = attack::named(part);
    let all = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join("; ");
    if found.is_empty() { Err(format!("there are: {}", all())) } else { Ok(Attacks(found)) }
}

fn main() -> ExitCode {
    match eval(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The captures of the table and of the list, each with its line if it has one.
fn captures(args: &Args) -> Result<BTreeMap<String, Option<Expected>>> {
    let table = args.expect.clone().unwrap_or_else(|| args.data.join("expect.tsv"));
    let mut all = BTreeMap::new();
    // Another table may come with another folder, which needs no list.
    if args.expect.is_none() || args.data.join("manifest.tsv").is_file() {
        all.extend(expect::captures(&args.data)?.into_iter().map(|file| (file, None)));
    }
    all.extend(expect::table(&table)?.into_iter().map(|expected| (expected.file.clone(), Some(expected))));
    ensure!(!all.is_empty(), "there is no capture in {}", args.data.display());
    Ok(all)
}

fn eval(args: &Args) -> Result<bool> {
    // First, before anything else takes memory.
    let measured = (args.hosts > 0).then(speed::measure);
    let wire = (args.hosts > 0 && args.wire > 0)
        .then(|| packets::measure(&args.seeds.0, args.hosts, f64::from(args.wire)));
    let hold =
        |(file, expected): (String, Option<Expected>)| held::hold(&args.data, &file, expected.as_ref());
    let held = captures(args)?.into_iter().map(hold).collect::<Result<Vec<Held>, _>>()?;
    let mut targets = held::targets(&held);
    targets.extend(wire.iter().flatten().flat_map(|seen| packets::targets(seen)));
    let simulated = (args.hosts > 0).then(|| simulate(args));
    targets.extend(simulated.iter().flat_map(synthetic::targets));
    let attacks = args.hosts > 0 && args.runs > 0 && args.attack.is_none();
    if attacks {
        targets.push(leak::target(leak::look(&args.seeds.0, &trial(args))));
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let split = Split { learned: args.learned };
    let contests = match attacks {
        false => Vec::new(),
        true => by_seed(args, |seed| contest::hold(seed, args.hosts.min(500), args.runs.min(4), split)),
    };
    let grafts: Vec<Arc<_>> = match attacks {
        false => Vec::new(),
        true => transplant::grafts(&held, &args.data)?.into_iter().map(Arc::new).collect(),
    };
    let grown = by_seed(args, |seed| transplant::grow(seed, &grafts, &trial(args)));
    let grown: Vec<_> = grown.into_iter().flatten().collect();
    if !grafts.is_empty() {
        targets.push(transplant::target(&grown));
    }
    targets.extend(measured.iter().flat_map(speed::targets));
    let mut pages: String = wire.iter().map(packets::page).collect();
    pages.extend(simulated.iter().map(told::page));
    if !grafts.is_empty() {
        pages += &transplant::page(&grafts, &grown);
    }
    if !contests.is_empty() {
        pages += &contest::page(&contests);
        pages += &spoilt::page(&contests);
        targets.extend(spoilt::targets(&contests));
    }
    pages.extend(measured.iter().map(speed::page));
    if args.hosts > 0 {
        let pictures = picture::all(simulated.as_ref(), &contests);
        for picture in &pictures {
            write(&args.out.join(picture.file), &picture.svg())?;
        }
        pages += &picture::page(&pictures);
    }
    write(&args.out.join("report.md"), &(report::page(&held, &targets) + &pages))?;
    let mut machine = report::machine(&held, &targets);
    machine["e1"] = wire.as_ref().map(packets::machine).into();
    machine["spoilt"] = spoilt::machine(&contests);
    machine["synthetic"] = simulated.as_ref().map(told::machine).into();
    machine["timings"] = measured.iter().map(speed::machine).collect();
    write(&args.out.join("report.json"), &format!("{machine:#}\n"))?;
    // Nobody may be reading any more; the reports are written.
    if let Some(Err(why)) = &wire {
        let _ = writeln!(io::stdout(), "Not measured on the wire: {why}");
    }
    let _ = write!(io::stdout(), "{}", report::terminal(&held, &targets, screen_width()));
    let _ =
        writeln!(io::stdout(), "{} captures; more in {}", held.len(), args.out.join("report.md").display());
    Ok(targets.iter().filter(|target| target.gates).all(held::Target::pass))
}

fn simulate(args: &Args) -> synthetic::Simulated {
    let extent = Extent { hosts: args.hosts, days: args.days, confounders: args.confounders };
    let (lived, ran): (_, Vec<_>) =
        by_seed(args, |seed| synthetic::simulate(seed, &extent, &trial(args))).into_iter().unzip();
    synthetic::Simulated { lived, ran: ran.into_iter().flatten().collect() }
}

fn trial(args: &Args) -> Trial {
    let kinds = args.attack.as_ref().map_or_else(|| attack::named(""), |Attacks(kinds)| kinds.clone());
    Trial { hosts: args.hosts.min(800), learned: args.learned, kinds, each: args.runs }
}

/// Something on the site of each seed, two at a time.
fn by_seed<T: Send>(args: &Args, what: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let of = |seeds: &[u64]| seeds.iter().map(|seed| what(*seed)).collect::<Vec<_>>();
    let of = &of;
    thread::scope(|scope| {
        let part = args.seeds.0.len().div_ceil(2).max(1);
        let parts = args.seeds.0.chunks(part);
        let threads: Vec<_> = parts.map(|seeds| scope.spawn(move || of(seeds))).collect();
        // A thread that panicked has said why; its part is missing from the report.
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
