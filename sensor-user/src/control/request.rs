//! From a line of a client to what the pipeline is asked. Whatever comes in, it ends in an answer.

use sensor_core::addr::{AddrError, Mac};
use sensor_core::engine::{Add, Announce, Command, Judge, Which, Who, Whom};
use sensor_core::event::{Said, Verdict};
use sensor_core::inventory::cards::Edit;
use sensor_core::policy::Name;
use sensor_core::policy::Target;
use serde_json::Value;

use super::{ModelAsk, NotifyAsk};
use crate::drill;
use crate::models::Chosen;
use crate::protocol::{
    BlockAdd, BlockSelect, DeviceDistinct, DeviceEdit, DeviceMerge, DrillDone, IncidentJudge, MAX_REASON,
    MAX_TARGETS, ModelPromote, Refusal, RefusalKind, Request, VERSION, WindowAdd, WindowWho,
};

/// Digits of a whole hash.
const MAX_HASH: usize = 64;

/// Longest name of a device, in bytes.
const MAX_DEVICE: usize = 256;

/// What a request comes down to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To see one part of everything.
    See(Part),
    /// An order.
    Order(Command),
    /// A part of one.
    Part(Vec<(String, Edit)>),
    /// To switch the bypass.
    Bypass(bool),
    /// To note that a fire drill is over.
    Drilled(bool),
    /// Something about models.
    Model(ModelAsk),
    /// Something about telling people.
    Notify(NotifyAsk),
}

/// A part of what there is to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// How everything does.
    Status,
    /// The devices.
    Devices,
    /// The incidents.
    Incidents,
    /// The detectors on review.
    Reviews,
    /// The change windows.
    Windows,
    /// The block list.
    Blocks,
}

/// A refusal of something that could not be understood.
pub fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, message)
}

/// Reads a line. `owner` is the account that sent it.
pub fn read(line: &[u8], owner: &str) -> Result<Wish, Refusal> {
    match decode(line)? {
        Request::Status => Ok(Wish::See(Part::Status)),
        Request::Devices => Ok(Wish::See(Part::Devices)),
        Request::DeviceEdit(edits) => {
            Ok(Wish::Order(Command::Describe(read_edits(edits)?, owner.to_owned())))
        }
        Request::DeviceEditPart(edits) => read_edits(edits).map(Wish::Part),
        Request::DeviceMerge(DeviceMerge { into, device: other }) => {
            Ok(Wish::Order(Command::Merge(device(into)?, device(other)?, owner.to_owned())))
        }
        Request::DeviceDistinct(DeviceDistinct { device: one, other }) => {
            Ok(Wish::Order(Command::Distinct(device(one)?, device(other)?, owner.to_owned())))
        }
        Request::DeviceSplit(address) => Ok(Wish::Order(Command::Split(device(address)?, owner.to_owned()))),
        Request::DeviceForget(who) => Ok(Wish::Order(Command::ForgetDevice(device(who)?, owner.to_owned()))),
        Request::Incidents => Ok(Wish::See(Part::Incidents)),
        Request::IncidentApprove(id) => Ok(Wish::Order(Command::Approve(id, true, owner.to_owned()))),
        Request::IncidentDeny(id) => Ok(Wish::Order(Command::Approve(id, false, owner.to_owned()))),
        Request::IncidentJudge(judge) => judged(judge, owner).map(Wish::Order),
        Request::Reviews => Ok(Wish::See(Part::Reviews)),
        Request::ReviewEnd(id) => Ok(Wish::Order(Command::Review(id, owner.to_owned()))),
        Request::Windows => Ok(Wish::See(Part::Windows)),
        Request::WindowAdd(add) => window_add(add, owner).map(Wish::Order),
        Request::WindowRemove(id) => Ok(Wish::Order(Command::EndWindow(id, owner.to_owned()))),
        Request::BlockList => Ok(Wish::See(Part::Blocks)),
        Request::BlockAdd(add) => block_add(add, owner).map(Wish::Order),
        Request::Bypass(on) => Ok(Wish::Bypass(on)),
        Request::DrillBegin => Ok(Wish::Order(Command::Drill(Some(Mac(drill::SCANNER))))),
        Request::DrillDone(DrillDone { good }) => Ok(Wish::Drilled(good)),
        Request::Models => Ok(Wish::Model(ModelAsk::List)),
        Request::ModelTrain => Ok(Wish::Model(ModelAsk::Train(None))),
        Request::ModelTrainClass(class) => {
            let class = class.parse::<Name>().map_err(address)?;
            Ok(Wish::Model(ModelAsk::Train(Some(class.to_string()))))
        }
        Request::ModelPromote(ModelPromote { hash, golden }) => {
            let what = if golden { Chosen::Golden } else { Chosen::InForce };
            model(&hash).map(|hash| Wish::Model(ModelAsk::Promote(hash, what)))
        }
        Request::ModelScores(text) => device(text).map(ModelAsk::Scores).map(Wish::Model),
        Request::NotifyList => Ok(Wish::Notify(NotifyAsk::List)),
        Request::NotifyTest(text) => {
            let name = text.parse::<Name>().map_err(address)?;
            Ok(Wish::Notify(NotifyAsk::Test(name.to_string())))
        }
        Request::NotifyAck(incident) => Ok(Wish::Notify(NotifyAsk::Acknowledge(incident))),
        Request::BlockRemove(select) => {
            let which = match select {
                BlockSelect::Id(id) => Which::Id(id),
                BlockSelect::Target(text) => Which::Held(Who::Target(target(&text)?)),
                BlockSelect::Device(text) => Which::Held(Who::Device(device(text)?)),
            };
            Ok(Wish::Order(Command::Remove(which)))
        }
    }
}

/// The order that a request is, to be told: its name, and with what as JSON. None if it changes nothing.
pub fn order(line: &[u8], wish: &Wish) -> Option<(String, String)> {
    let changes = match wish {
        Wish::See(_) => false,
        Wish::Order(Command::Add(add)) => !add.preview,
        Wish::Order(_) | Wish::Part(_) | Wish::Bypass(_) | Wish::Drilled(_) => true,
        Wish::Model(ask) => matches!(ask, ModelAsk::Train(_) | ModelAsk::Promote(..)),
        Wish::Notify(ask) => matches!(ask, NotifyAsk::Test(_) | NotifyAsk::Acknowledge(_)),
    };
    let object: Value = serde_json::from_slice(line).ok().filter(|_| changes)?;
    Some((object["request"].as_str()?.to_owned(), object["with"].to_string()))
}

fn decode(line: &[u8]) -> Result<Request, Refusal> {
    let wrong = |error| bad(format!("the request is not understood: {error}"));
    let mut object: serde_json::Map<String, Value> = serde_json::from_slice(line).map_err(wrong)?;
    match object.remove("version").as_ref().and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(other) => {
            return Err(bad(format!(
                "the request is of version {other} and the daemon understands version {VERSION}: use the sekisho \
                 command of the daemon's release, or restart the daemon"
            )));
        }
        None => return Err(bad("the request has no version")),
    }
    serde_json::from_value(Value::Object(object)).map_err(wrong)
}

fn read_edits(edits: Vec<DeviceEdit>) -> Result<Vec<(String, Edit)>, Refusal> {
    edits.into_iter().map(edit).collect()
}

/// What is to be changed of a device, as the engine takes it.
///
/// # Errors
///
/// What cannot be read.
pub fn edit(edit: DeviceEdit) -> Result<(String, Edit), Refusal> {
    let DeviceEdit { device: who, name, place, owner, note, class, criticality, approved } = edit;
    let wrong = |what: String| bad(format!("device {who}: {what}"));
    let class = class.map(|text| given(&text).map(str::parse).transpose()).transpose();
    let criticality = criticality.map(|text| given(&text).map(str::parse).transpose()).transpose();
    let (class, criticality) =
        (class.map_err(|error: AddrError| wrong(error.to_string()))?, criticality.map_err(wrong)?);
    Ok((device(who)?, Edit { name, place, owner, note, class, criticality, approved }))
}

/// A text that is not empty.
fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn judged(judge: IncidentJudge, owner: &str) -> Result<Command, Refusal> {
    let IncidentJudge { incident, right, grave, comment } = judge;
    let verdict = match (right, grave) {
        (true, true) => Verdict::Grave,
        (true, false) => Verdict::True,
        (false, false) => Verdict::False,
        (false, true) => return Err(bad("an incident that was none was not grave")),
    };
    let said = Said { verdict, by: owner.to_owned(), comment: reason(&comment)? };
    Ok(Command::Judge(Judge { incident, said, former: None }))
}

fn block_add(add: BlockAdd, owner: &str) -> Result<Command, Refusal> {
    if add.targets.len() + add.devices.len() > MAX_TARGETS {
        return Err(bad(format!("one request can block at most {MAX_TARGETS} addresses")));
    }
    let devices = add.devices.into_iter().map(|text| device(text).map(Who::Device));
    let targets = add.targets.iter().map(|text| target(text).map(Who::Target));
    let mut who = Vec::new();
    for one in devices.chain(targets) {
        let one = one?;
        if !who.contains(&one) {
            who.push(one);
        }
    }
    if add.for_ns == Some(0) {
        return Err(bad("a block of no length blocks nobody"));
    }
    let reason = reason(&add.reason)?;
    Ok(Command::Add(Add {
        who,
        level: add.level.map(|text| text.parse()).transpose().map_err(|what: String| bad(what))?,
        direction: add.direction.map(|text| text.parse()).transpose().map_err(|what: String| bad(what))?,
        list: add.allow.map(|text| text.parse()).transpose().map_err(address)?,
        for_ns: add.for_ns,
        reason,
        owner: owner.to_owned(),
        force: add.force,
        preview: add.preview,
    }))
}

fn window_add(add: WindowAdd, owner: &str) -> Result<Command, Refusal> {
    let who = match add.who {
        WindowWho::Everybody => Whom::Everybody,
        WindowWho::Segment(name) => Whom::Segment(name.parse().map_err(address)?),
        WindowWho::Device(text) => Whom::Device(device(text)?),
    };
    let reason = reason(&add.reason)?;
    if reason.is_empty() {
        return Err(bad("a change window needs a reason, for those who wonder why nothing was cut off"));
    }
    let (in_ns, for_ns, by) = (add.in_ns, add.for_ns, owner.to_owned());
    Ok(Command::Announce(Announce { who, in_ns, for_ns, reason, by }))
}

fn reason(text: &str) -> Result<String, Refusal> {
    if text.len() > MAX_REASON {
        return Err(bad(format!("the reason is longer than {MAX_REASON} bytes")));
    }
    Ok(crate::label::plain(text).trim().to_owned())
}

fn address(error: AddrError) -> Refusal {
    bad(error.to_string())
}

/// A hash, or the beginning of one.
fn model(text: &str) -> Result<String, Refusal> {
    if text.len() <= MAX_HASH && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(bad("a model is named by the beginning of its hash, as `sekisho model list` shows it"))
    }
}

/// A device's name is looked up, not obeyed by a terminal.
fn device(text: String) -> Result<String, Refusal> {
    if text.len() <= MAX_DEVICE && text == crate::label::plain(&text) {
        Ok(text)
    } else {
        Err(bad("a device is called by its name, a MAC or an IP address"))
    }
}

fn target(text: &str) -> Result<Target, Refusal> {
    text.parse().map_err(address)
}
