//! Models as files.
//!
//! All numbers are little-endian; texts are a byte of length and UTF-8. In order: [`MAGIC`], version (16 bits), subject,
//! class; number of features (16 bits) and of each its name, form, middle, spread, usual error and usual values; number of
//! layers (8 bits) and of each its outputs (16 bits), weights (inputs by outputs) and biases; ranks, levels, threshold, facts;
//! and the SHA-256 of all before. The hash finds accidents. It keeps nobody from writing a file of his own, so that whatever
//! a file says is checked as well.
//!
//! The same model gives the same bytes.

use sha2::{Digest, Sha256};

use super::features::Subject;
use super::network::{MAX_LAYERS, Network};
use super::scale::{Column, Form, Scaler};
use super::tail::Tail;
use super::{Facts, LEAST_ERROR, Measure, Model, RANKS, Threshold, Usual};

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"SEKISHOM";
/// Version of the format.
pub const VERSION: u16 = 1;
/// Longest file.
pub const MAX_BYTES: usize = 1 << 20;
/// Longest name of a class, in bytes.
pub const MAX_CLASS: usize = 64;

/// Why a file is no model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error("this is no model file")]
    NoModel,
    /// It is longer than any model.
    #[error("the file has {0} bytes; a model has at most {MAX_BYTES}")]
    TooLong(usize),
    /// It is of another version.
    #[error("the file is of version {0}, and this program reads version {VERSION}; train the model again")]
    Version(u16),
    /// The hash is not that of what is before it.
    #[error("the file is damaged: its hash does not match")]
    Damaged,
    /// It ends too early, or goes on.
    #[error("the file is of the wrong length: it ends within or goes on after {0}")]
    Length(&'static str),
    /// Something in it cannot be.
    #[error("{0} of the file cannot be")]
    Wrong(&'static str),
    /// Its features are not those of this program.
    #[error("feature {at} of the file is `{got}`, and here it is `{want}`; train the model again")]
    Feature {
        /// Which, from 1.
        at: usize,
        /// What it is in the file.
        got: String,
        /// What it is here.
        want: &'static str,
    },
}

/// The bytes of a model. A class name that is too long is cut.
pub fn write(model: &Model) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.0.extend(VERSION.to_le_bytes());
    out.0.push(subject_code(model.subject));
    out.text(&model.class);
    let labels = model.labels();
    out.0.extend((labels.len() as u16).to_le_bytes());
    let measure = &model.measure;
    for (((label, column), error), usual) in
        labels.iter().zip(&measure.scaler.columns).zip(&measure.errors).zip(&model.usual)
    {
        out.text(label.name);
        out.0.push(form_code(label.form));
        out.floats([column.middle, column.spread, *error, usual.low, usual.middle, usual.high]);
    }
    let widths = measure.network.widths();
    out.0.push(widths.len() as u8);
    for ((weights, bias), width) in measure.network.parts().zip(widths) {
        out.0.extend((width as u16).to_le_bytes());
        out.floats(weights);
        out.floats(bias);
    }
    out.floats(model.ranks);
    out.floats(model.levels);
    match model.threshold {
        Threshold::Guessed { at } => {
            out.0.push(0);
            out.doubles([at]);
        }
        Threshold::Promised { at, rate, tail } => {
            out.0.push(1);
            out.doubles([at, rate, tail.start, tail.rate, tail.scale, tail.shape]);
            out.0.extend(tail.points.to_le_bytes());
        }
    }
    let facts = &model.facts;
    for number in [facts.made_secs, facts.seed, facts.rows, facts.left_out] {
        out.0.extend(number.to_le_bytes());
    }
    for number in [facts.hosts, facts.set_aside, facts.epochs] {
        out.0.extend(number.to_le_bytes());
    }
    out.floats([facts.loss]);
    let hash = Sha256::digest(&out.0);
    out.0.extend_from_slice(&hash);
    out.0
}

/// Reads a model.
///
/// # Errors
/// If the bytes are anything but what [`write()`] gives, or a number could not have come out of training.
pub fn read(bytes: &[u8]) -> Result<Model, FileError> {
    if bytes.len() > MAX_BYTES {
        return Err(FileError::TooLong(bytes.len()));
    }
    let (body, hash) = bytes.split_last_chunk::<32>().ok_or(FileError::NoModel)?;
    let mut from = Reader(body);
    if from.take(MAGIC.len(), "magic") != Ok(&MAGIC) {
        return Err(FileError::NoModel);
    }
    match from.u16("version")? {
        VERSION => {}
        other => return Err(FileError::Version(other)),
    }
    if Sha256::digest(body).as_slice() != hash {
        return Err(FileError::Damaged);
    }
    let subject = match from.u8("subject")? {
        0 => Subject::Flow,
        1 => Subject::Window,
        _ => return Err(FileError::Wrong("the subject")),
    };
    let class = from.text("class")?;
    if class.is_empty() || class.len() > MAX_CLASS || class.contains(char::is_control) {
        return Err(FileError::Wrong("the class"));
    }
    let (scaler, errors, usual) = features(&mut from, subject)?;
    let network = network(&mut from, errors.len())?;
    let ranks: [f32; RANKS.len()] = from.floats("ranks")?;
    check(ranks.is_sorted(), "the ranks")?;
    let levels: [f32; 2] = from.floats("levels")?;
    check(levels.is_sorted(), "the levels")?;
    let threshold = threshold(&mut from)?;
    let facts = facts(&mut from)?;
    if !from.0.is_empty() {
        return Err(FileError::Length("facts"));
    }
    let measure = Measure { scaler, network, errors };
    Ok(Model { subject, class, measure, usual, ranks, levels, threshold, facts })
}

fn features(from: &mut Reader<'_>, subject: Subject) -> Result<(Scaler, Vec<f32>, Vec<Usual>), FileError> {
    let labels = subject.labels();
    check(usize::from(from.u16("features")?) == labels.len(), "the number of features")?;
    let (mut columns, mut errors, mut all_usual) = (Vec::new(), Vec::new(), Vec::new());
    for (at, label) in labels.iter().enumerate() {
        let name = from.text("a feature")?;
        if name != label.name {
            return Err(FileError::Feature { at: at + 1, got: name, want: label.name });
        }
        check(from.u8("a feature")? == form_code(label.form), "the form of a feature")?;
        let [middle, spread, error, low, usual, high] = from.floats("a feature")?;
        check(spread > 0.0, "the spread of a feature")?;
        check(error >= LEAST_ERROR, "the usual error of a feature")?;
        columns.push(Column { form: label.form, middle, spread });
        errors.push(error);
        all_usual.push(Usual { low, middle: usual, high });
    }
    Ok((Scaler { columns }, errors, all_usual))
}

fn network(from: &mut Reader<'_>, inputs: usize) -> Result<Network, FileError> {
    let layers = usize::from(from.u8("layers")?);
    check(layers <= MAX_LAYERS, "the number of layers")?;
    let mut width = inputs;
    let mut parts = Vec::new();
    for _ in 0..layers {
        let outputs = usize::from(from.u16("a layer")?);
        let weights = from.many(width.saturating_mul(outputs), "the weights")?;
        parts.push((weights, from.many(outputs, "the biases")?));
        width = outputs;
    }
    Network::from_parts(inputs, parts).ok_or(FileError::Wrong("the shape of the network"))
}

fn threshold(from: &mut Reader<'_>) -> Result<Threshold, FileError> {
    match from.u8("threshold")? {
        0 => {
            let [at] = from.doubles("threshold")?;
            Ok(Threshold::Guessed { at })
        }
        1 => {
            let [at, rate, start, tail_rate, scale, shape] = from.doubles("threshold")?;
            let is_rate = |rate: f64| rate > 0.0 && rate <= 1.0;
            check(is_rate(rate) && is_rate(tail_rate), "a rate of the threshold")?;
            check(scale > 0.0, "the scale of the tail")?;
            let points = from.u64("threshold")?;
            check(points > 0, "the number of scores")?;
            let tail = Tail { start, rate: tail_rate, scale, shape, points };
            Ok(Threshold::Promised { at, rate, tail })
        }
        _ => Err(FileError::Wrong("the kind of threshold")),
    }
}

fn facts(from: &mut Reader<'_>) -> Result<Facts, FileError> {
    let what = "facts";
    Ok(Facts {
        made_secs: from.u64(what)?,
        seed: from.u64(what)?,
        rows: from.u64(what)?,
        left_out: from.u64(what)?,
        hosts: from.u32(what)?,
        set_aside: from.u32(what)?,
        epochs: from.u32(what)?,
        loss: from.floats::<1>(what)?[0],
    })
}

fn check(holds: bool, what: &'static str) -> Result<(), FileError> {
    if holds { Ok(()) } else { Err(FileError::Wrong(what)) }
}

fn subject_code(subject: Subject) -> u8 {
    match subject {
        Subject::Flow => 0,
        Subject::Window => 1,
    }
}

fn form_code(form: Form) -> u8 {
    match form {
        Form::Flag => 0,
        Form::Plain => 1,
        Form::Log => 2,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn text(&mut self, text: &str) {
        let text = text.get(..text.floor_char_boundary(MAX_CLASS)).unwrap_or(text);
        self.0.push(text.len() as u8);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn floats(&mut self, numbers: impl IntoIterator<Item = f32>) {
        self.0.extend(numbers.into_iter().flat_map(f32::to_le_bytes));
    }

    fn doubles(&mut self, numbers: impl IntoIterator<Item = f64>) {
        self.0.extend(numbers.into_iter().flat_map(f64::to_le_bytes));
    }
}

/// What is left of a file. Each takes what it is about for the error.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], FileError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FileError::Length(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FileError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(FileError::Length(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, FileError> {
        self.bytes(what).map(u8::from_le_bytes)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, FileError> {
        self.bytes(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, FileError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, FileError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str) -> Result<String, FileError> {
        let length = usize::from(self.u8(what)?);
        let text = std::str::from_utf8(self.take(length, what)?);
        text.map(str::to_owned).map_err(|_| FileError::Wrong(what))
    }

    /// So many finite numbers.
    fn many(&mut self, count: usize, what: &'static str) -> Result<Vec<f32>, FileError> {
        let bytes = self.take(count.saturating_mul(4), what)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        check(numbers.iter().all(|number| number.is_finite()), what)?;
        Ok(numbers)
    }

    fn floats<const N: usize>(&mut self, what: &'static str) -> Result<[f32; N], FileError> {
        self.many(N, what)?.try_into().map_err(|_| FileError::Length(what))
    }

    fn doubles<const N: usize>(&mut self, what: &'static str) -> Result<[f64; N], FileError> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = f64::from_le_bytes(self.bytes(what)?);
            check(number.is_finite(), what)?;
        }
        Ok(numbers)
    }
}
