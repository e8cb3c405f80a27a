//! What a person says to incidents: yes and no to what waits for approval, true and false, and that a detector was reviewed.

use clap::{Args, Subcommand, ValueEnum};

use super::args::AskArgs;
use super::pack::{self, PackArgs};
use super::show::{self, Here};
use super::table::{column, numbers, table};
use super::{CliError, run};
use crate::label;
use crate::protocol::{Approved, IncidentJudge, JudgedInfo, Request, ReviewInfo};

/// `sekisho incidents ...`.
#[derive(Subcommand, Debug)]
pub enum IncidentsTask {
    /// Have done what waits for approval in an incident ([approve] of the configuration)
    Approve(IncidentArgs),
    /// Have it not done: what holds the device meanwhile is taken back
    Deny(IncidentArgs),
    /// Say whether an incident was a true one
    #[command(after_long_help = "\
`false` puts the detectors that found it on review for the class of the device, or for the device if it has no class: until \
`sekisho incidents review` they only alert there. It releases nobody: `sekisho block remove` does. `true` takes `false` back, and so \
does `grave`: true, and harm came of it, or would have. Incidents of earlier runs can be judged too (`sekisho incidents --all`).

Examples:
  sekisho incidents judge 12 false --comment \"scan of the maker, ticket 1234\"
  sekisho incidents reviews
  sekisho incidents review 3")]
    Judge(JudgeArgs),
    /// Put all there is of an incident into one signed archive, with a report in Japanese and English
    #[command(after_long_help = "\
It is read from the journal; no daemon need run. Run it as root, for the key that signs is for the daemon alone.

Examples:
  sekisho incidents pack 12
  sekisho incidents pack 12 -f /media/usb/incident-12.zip
  sekisho audit verify-pack /media/usb/incident-12.zip")]
    Pack(PackArgs),
    /// Show the detectors on review
    Reviews(AskArgs),
    /// End a review, by its number: the detector counts again
    Review(ReviewArgs),
}

/// An incident.
#[derive(Args, Debug)]
pub struct IncidentArgs {
    /// Its number
    #[arg(value_name = "NUMBER")]
    pub id: u64,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What an incident was.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was right to tell
    True,
    /// It was nothing
    False,
    /// It was right to tell, and grave: harm came of it, or would have
    Grave,
}

/// `sekisho incidents judge`.
#[derive(Args, Debug)]
pub struct JudgeArgs {
    /// Its number
    #[arg(value_name = "NUMBER")]
    pub id: u64,
    /// What it was
    #[arg(value_enum, value_name = "VERDICT")]
    pub verdict: Verdict,
    /// What there is to say of it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub comment: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho incidents review`.
#[derive(Args, Debug)]
pub struct ReviewArgs {
    /// The number of the review
    #[arg(value_name = "NUMBER")]
    pub id: u32,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries it out; gives what is shown.
pub fn say(task: &IncidentsTask) -> Result<String, CliError> {
    match task {
        IncidentsTask::Approve(args) => {
            run::ask(&args.ask, Request::IncidentApprove(args.id), |said, _| approved(&said))
        }
        IncidentsTask::Deny(args) => {
            run::ask(&args.ask, Request::IncidentDeny(args.id), |said: Approved, _| {
                let level = label::plain(&said.level);
                format!("Incident {}: {level} is denied, and will not be asked for again.\n", said.incident)
            })
        }
        IncidentsTask::Judge(args) => {
            let (right, grave) = (args.verdict != Verdict::False, args.verdict == Verdict::Grave);
            let comment = args.comment.clone();
            let request = Request::IncidentJudge(IncidentJudge { incident: args.id, right, grave, comment });
            run::ask(&args.ask, request, |said, _| judged(&said))
        }
        IncidentsTask::Pack(args) => pack::pack(args),
        IncidentsTask::Reviews(args) => {
            run::ask(args, Request::Reviews, |list: Vec<_>, at| reviews(&list, at))
        }
        IncidentsTask::Review(args) => {
            run::ask(&args.ask, Request::ReviewEnd(args.id), |review: ReviewInfo, _| {
                format!(
                    "{} counts again for {}.\n",
                    label::plain(&review.detector),
                    label::plain(&review.scope)
                )
            })
        }
    }
}

fn approved(said: &Approved) -> String {
    let action = said.action.as_deref().unwrap_or_default();
    format!("Incident {}: approved; {}.\n", said.incident, label::plain(show::done(action)))
}

fn judged(said: &JudgedInfo) -> String {
    let verdict = show::verdict(said.right, said.grave);
    let mut text = format!("Incident {} is judged {verdict}.\n", said.incident);
    for review in &said.reviews {
        let (detector, scope) = (label::plain(&review.detector), label::plain(&review.scope));
        text.push_str(&if said.right {
            format!("{detector} counts again for {scope}.\n")
        } else {
            format!("{detector} only alerts for {scope} until `sekisho incidents review {}`.\n", review.id)
        });
    }
    if !said.right && said.reviews.is_empty() {
        text.push_str(
            "No detector is on review for it: its device is not known any more, or they are already.\n",
        );
    }
    if !said.right {
        text.push_str("If its device is held, it still is: `sekisho block list`, `sekisho block remove`.\n");
    }
    text
}

fn reviews(list: &[ReviewInfo], here: &Here) -> String {
    if list.is_empty() {
        return "No detector is on review.\n".to_owned();
    }
    let row = |review: &ReviewInfo| {
        [
            review.id.to_string(),
            review.detector.clone(),
            review.scope.clone(),
            review.incident_id.to_string(),
            review.since.local(&here.zone),
            review.by.clone(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    let columns = [
        numbers("ID"),
        column("DETECTOR", 8),
        column("ONLY ALERTS FOR", 15),
        numbers("INCIDENT"),
        column("SINCE", 19),
        column("BY", 8),
    ];
    format!(
        "{}\n`sekisho incidents review ID` ends a review: the detector counts again.\n",
        table(columns, &rows, here.width)
    )
}
