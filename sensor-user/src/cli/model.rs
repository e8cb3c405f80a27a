//! `sekisho model`: what was learned, and what it says.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::{AskArgs, Output};
use super::client::Client;
use super::show::{self, Here};
use super::table::{column, numbers, table};
use super::{CliError, run};
use crate::label;
use crate::protocol::{IncidentInfo, ModelInfo, ModelList, ModelPromote, Request, Scores, TrainInfo};

/// The detector that asks the models.
const DETECTOR: &str = sensor_core::detect::unusual::NAME;

/// `sekisho model`.
#[derive(Subcommand, Debug)]
pub enum ModelTask {
    /// Show the models, which are in force, and how much there is to learn from
    List(ClassArgs),
    /// Train new models now, in the background
    #[command(after_long_help = "\
The answer comes at once and says what will happen. A new model takes over by itself if none is in force that alerts, or if it \
hardly differs from that one; else `sekisho model promote` puts it in force.")]
    Train(ClassArgs),
    /// Put a model in force, or have new ones compared with it
    #[command(after_long_help = "\
The first model that alerts is golden: each new one is compared with it, to find devices that change bit by bit, which each \
training would take for usual. If the network has changed for good, make a newer one golden; the comparing begins anew then.")]
    Promote(PromoteArgs),
    /// Show what made a device stand out in an incident, or the last scores of a device
    #[command(after_long_help = "\
Examples:
  sekisho model explain 12          incident 12
  sekisho model explain 10.0.0.7    the last scores of a device; by its name, MAC or IP address")]
    Explain(ExplainArgs),
}

/// `sekisho model list` and `train`.
#[derive(Args, Debug)]
pub struct ClassArgs {
    /// Only those of this class of devices; "all": those learned of all devices
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho model promote`.
#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// The beginning of its hash, 4 digits or more
    #[arg(value_name = "HASH")]
    pub hash: String,
    /// Leave in force what is, and have new models compared with this one
    #[arg(long)]
    pub golden: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho model explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The number of an incident, or a device by its name, MAC or IP address
    #[arg(value_name = "INCIDENT|DEVICE")]
    pub what: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries it out; gives what is shown.
pub fn model(task: &ModelTask) -> Result<String, CliError> {
    match task {
        ModelTask::List(args) => {
            let of = args.class.as_deref();
            let mut client = Client::connect(&args.ask.socket)?;
            let answer = client.ask(Request::Models)?;
            Ok(match args.ask.output.output {
                Output::Json => run::json(&of_class(answer, of)),
                Output::Human => list(client.read(answer)?, of, &run::here()),
            })
        }
        ModelTask::Train(args) => {
            let order = args.class.clone().map_or(Request::ModelTrain, Request::ModelTrainClass);
            run::ask(&args.ask, order, |plans: Vec<_>, _| trained(&plans))
        }
        ModelTask::Promote(args) => {
            let order = ModelPromote { hash: args.hash.clone(), golden: args.golden };
            run::ask(&args.ask, Request::ModelPromote(order), |model, _| promoted(&model, args.golden))
        }
        ModelTask::Explain(args) => match args.what.parse() {
            Ok(id) => explain(id, &args.ask),
            Err(_) => {
                run::ask(&args.ask, Request::ModelScores(args.what.clone()), |said, at| scores(&said, at))
            }
        },
    }
}

/// What the models had to do with an incident.
fn explain(id: u64, args: &AskArgs) -> Result<String, CliError> {
    let mut client = Client::connect(&args.socket)?;
    let answer = client.ask(Request::Incidents)?;
    let incidents: Vec<IncidentInfo> = client.read(answer)?;
    let mut incident =
        incidents.into_iter().find(|incident| incident.id == id).ok_or(CliError::NoIncident(id))?;
    incident.findings.retain(|finding| finding.detector == DETECTOR);
    if incident.findings.is_empty() {
        return Err(CliError::NoModelFinding(id));
    }
    Ok(match args.output.output {
        Output::Json => run::json(&serde_json::to_value(&incident).unwrap_or(Value::Null)),
        Output::Human => show::incident(&incident, &run::here()),
    })
}

/// What a row of a subject is about.
fn about(subject: &str) -> String {
    match subject {
        "flow" => "conversations".to_owned(),
        "window" => "minutes".to_owned(),
        other => label::plain(other),
    }
}

/// The same without other classes' models and rows.
fn of_class(mut answer: Value, of: Option<&str>) -> Value {
    let Some(of) = of else { return answer };
    if let Some(models) = answer.get_mut("models").and_then(Value::as_array_mut) {
        models.retain(|model| model.get("class").and_then(Value::as_str) == Some(of));
    }
    if let Some(classes) = answer.get_mut("classes").and_then(Value::as_object_mut) {
        classes.retain(|class, _| class == of);
    }
    answer
}

fn list(mut list: ModelList, of: Option<&str>, here: &Here) -> String {
    let asked = |class: &str| of.is_none_or(|of| of == class);
    list.models.retain(|model| asked(&model.class));
    if let Some(of) =
        of.filter(|of| *of != "all" && list.models.is_empty() && !list.classes.contains_key(*of))
    {
        let classes: Vec<_> = ["all"].into_iter().chain(list.classes.keys().map(String::as_str)).collect();
        let (of, classes) = (label::plain(of), label::plain(&classes.join(", ")));
        return format!("No models are made of a class {of}; there are {classes}.\n");
    }
    let mut text = String::new();
    if list.models.is_empty() {
        text.push_str("There is no model yet.\n");
    } else {
        let row = |model: &ModelInfo| {
            [
                model.hash.clone(),
                model.class.clone(),
                about(&model.subject),
                model.made.local(&here.zone),
                model.rows.to_string(),
                model.devices.to_string(),
                model.devices_left_out.to_string(),
                state(model),
            ]
        };
        let rows: Vec<_> = list.models.iter().map(row).collect();
        let columns = [
            column("HASH", 8),
            column("CLASS", 5),
            column("OF", 8),
            column("MADE", 16),
            numbers("ROWS"),
            numbers("DEVICES"),
            numbers("ODD"),
            column("STATE", 12),
        ];
        text.push_str(&table(columns, &rows, here.width));
        text.push_str("ODD: devices that were left out; the log names them. Golden: new ones are compared with it, to find slow change.\n");
    }
    let counts = |rows: &BTreeMap<String, u64>| {
        let rows: Vec<_> = rows.iter().map(|(subject, rows)| format!("{rows} {}", about(subject))).collect();
        rows.join(", ")
    };
    text.push_str(&format!(
        "\nTo learn from: {}; a training needs {} of a kind.\n",
        counts(&list.rows),
        list.rows_needed
    ));
    for (class, rows) in list.classes.iter().filter(|(class, _)| asked(class)) {
        text.push_str(&format!("Of these in class {}: {}.\n", label::plain(class), counts(rows)));
    }
    if let Some(subject) = &list.training {
        let class = label::plain(list.training_class.as_deref().unwrap_or("all"));
        text.push_str(&format!("A model of {} (class {class}) is being trained.\n", about(subject)));
    }
    text
}

fn state(model: &ModelInfo) -> String {
    let state = match (model.in_force, model.threshold.as_str()) {
        (true, "guessed") => "in force, only learns".to_owned(),
        (true, _) => "in force".to_owned(),
        (false, "guessed") => "only learns".to_owned(),
        (false, _) => "-".to_owned(),
    };
    match (model.golden, state.as_str()) {
        (false, _) => state,
        (true, "-") => "golden".to_owned(),
        (true, _) => format!("{state}, golden"),
    }
}

fn trained(plans: &[TrainInfo]) -> String {
    plans
        .iter()
        .map(|plan| {
            format!(
                "The model of {} (class {}) {}.\n",
                about(&plan.subject),
                label::plain(&plan.class),
                label::plain(&plan.what)
            )
        })
        .collect()
}

fn promoted(model: &ModelInfo, golden: bool) -> String {
    if golden {
        return format!(
            "Model {} of {} is golden: new ones are compared with it, and the comparing begins anew.\n",
            label::plain(&model.hash),
            about(&model.subject)
        );
    }
    let only = if model.threshold == "guessed" { " It only learns: its threshold is a guess." } else { "" };
    format!("Model {} of {} is in force.{only}\n", label::plain(&model.hash), about(&model.subject))
}

fn scores(said: &Scores, here: &Here) -> String {
    let device = &said.device;
    let name = label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac);
    if said.scores.is_empty() {
        return format!("{name}: nothing of it was scored yet.\n");
    }
    let rows: Vec<_> = said
        .scores
        .iter()
        .map(|score| {
            [
                score.time.local(&here.zone),
                about(&score.subject),
                format!("{:.2}", score.over_own_level),
                score.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}")),
                label::percent(score.rank),
                if score.over_limit { "over the limit".to_owned() } else { String::new() },
            ]
        })
        .collect();
    let columns = [
        column("WHEN", 19),
        column("OF", 8),
        numbers("SCORE"),
        numbers("LIMIT"),
        numbers("RANK"),
        column("", 0),
    ];
    format!(
        "{name}\n{}SCORE: over the device's own level. RANK: of what was learned from, so much scores no more.\n",
        table(columns, &rows, here.width)
    )
}
