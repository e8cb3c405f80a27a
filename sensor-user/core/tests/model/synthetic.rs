//! A made-up class of devices: rows near a curved surface of four dimensions, hosts each a little apart, and attacks off the
//! surface. It says whether the learning works, and nothing about hospitals.

use std::f64::consts::TAU;
use std::ops::Range;

use sensor_core::addr::Mac;
use sensor_core::inventory::DeviceKey;
use sensor_core::model::features::Subject;
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::Rows;
use sensor_core::model::scale::Form;
use sensor_core::time::{MINUTE, Time};

/// Dimensions of what hosts do.
const HIDDEN: usize = 4;

/// A kind of attack.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Attack {
    /// Half the features are those of another moment: each is usual, together they are not.
    Mixed,
    /// Six features are far greater.
    Greater,
    /// The same six, at a distance by which a tenth of the rows are no odder than usual.
    Near,
}

/// The class.
pub struct Class {
    pub subject: Subject,
    forms: Vec<Form>,
    /// Linear and curved part and phase, for each feature.
    map: Vec<[[f64; HIDDEN]; 2]>,
}

/// A host of that number.
pub fn host(number: u64) -> DeviceKey {
    let [.., a, b, c, d] = number.to_be_bytes();
    DeviceKey::Local(Mac([2, 0, a, b, c, d]))
}

impl Class {
    pub fn new(subject: Subject) -> Self {
        let mut random = Random::new(77);
        let forms: Vec<Form> = subject.labels().iter().map(|label| label.form).collect();
        let mut draw = || std::array::from_fn(|_| std::array::from_fn(|_| random.normal() * 0.6));
        Self { subject, map: forms.iter().map(|_| draw()).collect(), forms }
    }

    /// What each feature would be before it is shaped.
    fn moment(&self, host: u64, random: &mut Random) -> Vec<f64> {
        let mut own = Random::new(host);
        let hidden: [f64; HIDDEN] = std::array::from_fn(|_| random.normal() + 0.3 * own.normal());
        let dot = |weights: &[f64; HIDDEN]| weights.iter().zip(hidden).map(|(a, b)| a * b).sum::<f64>();
        let feature = |[linear, curved]: &[[f64; HIDDEN]; 2]| {
            // Now and then a feature strays, as real ones do.
            let stray = if random.unit() < 0.01 { 5.0 } else { 1.0 };
            dot(linear)
                + (dot(curved) * TAU / 4.0).sin()
                + random.normal() * 0.15 * stray
                + own.normal() * 0.1
        };
        self.map.iter().map(feature).collect()
    }

    fn shape(&self, moment: &[f64]) -> Vec<f32> {
        let shaped = moment.iter().zip(&self.forms).map(|(x, form)| match form {
            Form::Flag => f32::from(u8::from(*x > 0.5)),
            Form::Plain => (1.0 / (1.0 + (-x).exp())) as f32,
            Form::Log => (x * 0.7 + 3.0).exp() as f32,
        });
        shaped.collect()
    }

    /// A usual row of a host.
    pub fn usual(&self, host: u64, random: &mut Random) -> Vec<f32> {
        self.shape(&self.moment(host, random))
    }

    /// A row of an attack from a host, by so much of its full strength.
    pub fn attack(&self, host: u64, attack: Attack, strength: f64, random: &mut Random) -> Vec<f32> {
        let mut moment = self.moment(host, random);
        let other = self.moment(host, random);
        let plain: Vec<usize> = (0..moment.len()).filter(|at| self.forms[*at] != Form::Flag).collect();
        match attack {
            Attack::Mixed => plain.iter().step_by(2).for_each(|at| moment[*at] = other[*at]),
            Attack::Greater => plain.iter().take(6).for_each(|at| moment[*at] += 4.0 * strength),
            Attack::Near => plain.iter().take(6).for_each(|at| moment[*at] += 1.5 * strength),
        }
        self.shape(&moment)
    }

    /// Usual rows, so many of each of some hosts, a minute apart.
    pub fn rows(&self, hosts: Range<u64>, each: u64, seed: u64) -> Rows {
        self.spoilt(hosts, each, seed, |_, _| None)
    }

    /// The same, with attacks of full strength where `spoil` says so of a host and the number of its row.
    pub fn spoilt(
        &self,
        hosts: Range<u64>,
        each: u64,
        seed: u64,
        spoil: impl Fn(u64, u64) -> Option<Attack>,
    ) -> Rows {
        let mut random = Random::new(seed);
        let mut rows = Rows::new(self.forms.len());
        for at in 0..each {
            for number in hosts.clone() {
                let row = match spoil(number, at) {
                    Some(attack) => self.attack(number, attack, 1.0, &mut random),
                    None => self.usual(number, &mut random),
                };
                assert!(rows.push(host(number), Time::at(at * MINUTE), &row));
            }
        }
        rows
    }

    /// Usual rows but for some hosts, which are on their way to [`Attack::Greater`] by so much
    /// of its strength.
    pub fn drifting(&self, hosts: Range<u64>, each: u64, seed: u64, who: Range<u64>, strength: f64) -> Rows {
        let mut random = Random::new(seed);
        let mut rows = Rows::new(self.forms.len());
        for at in 0..each {
            for number in hosts.clone() {
                let row = match who.contains(&number) {
                    true => self.attack(number, Attack::Greater, strength, &mut random),
                    false => self.usual(number, &mut random),
                };
                assert!(rows.push(host(number), Time::at(at * MINUTE), &row));
            }
        }
        rows
    }
}
