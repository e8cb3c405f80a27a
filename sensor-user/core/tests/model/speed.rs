//! How fast rows are made, scored and learned from. In processor time of one thread.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use ndarray::{Array2, Axis};
use sensor_core::addr::Mac;
use sensor_core::contact::{Contact, Outcome};
use sensor_core::event::{FlowEnded, Half};
use sensor_core::health::Health;
use sensor_core::model::Measure;
use sensor_core::model::baseline::{Forest, Pca};
use sensor_core::model::features::{Subject, Watch};
use sensor_core::model::network::{Batch, Learner, Learning, Network, Work};
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::{Reservoir, Rows};
use sensor_core::model::reservoir_file;
use sensor_core::model::scale::{Form, Scaler};
use sensor_core::observation::{EndReason, FlowId, Kind, Verdict};
use sensor_core::time::{MINUTE, Time};

use crate::cpu_seconds;
use crate::synthetic::{Class, host};

/// Rows that are there to be measured with.
const ROWS: usize = 8_192;

/// Rows a second, the median of seven.
fn rate(rows: usize, mut work: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..7)
        .map(|_| {
            let began = cpu_seconds();
            let mut rounds = 0;
            while rounds == 0 || cpu_seconds() - began < 0.1 {
                work();
                rounds += 1;
            }
            (rounds * rows) as f64 / (cpu_seconds() - began)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[3]
}

/// `cargo test --release -p sensor-core --test model -- --ignored --nocapture speed`.
#[test]
#[ignore = "prints what it measures"]
fn speed() {
    for subject in [Subject::Flow, Subject::Window] {
        let class = Class::new(subject);
        let mut random = Random::new(1);
        let forms: Vec<_> = subject.labels().iter().map(|label| label.form).collect();
        let rows = class.rows(0..8, ROWS as u64 / 8, 1);
        let all: Vec<usize> = (0..ROWS).collect();
        let scaler = Scaler::learn(&rows.values(), &all, &forms);
        let network = Network::new(forms.len(), subject.hidden(), &mut random);
        let mut scaled = Array2::zeros((ROWS, forms.len()));
        for (row, mut scaled) in rows.values().rows().into_iter().zip(scaled.rows_mut()) {
            scaler.scale(row, scaled.as_slice_mut().unwrap());
        }
        println!("{subject:?}, {}-{:?}-{}:", forms.len(), subject.hidden(), forms.len());

        let measure = Measure { scaler, network: network.clone(), errors: vec![1.0; forms.len()] };
        let mut scratch = Default::default();
        let values = rows.values();
        let alone = rate(ROWS, || {
            values.rows().into_iter().for_each(|row| {
                black_box(measure.score(row, &mut scratch));
            });
        });
        println!("  scored singly, scaling and all: {alone:.3e} rows/s, {:.2} us", 1e6 / alone);
        for size in [16, 256] {
            let mut batch = Batch::new(&network, size);
            let together = rate(ROWS, || {
                for rows in scaled.axis_chunks_iter(Axis(0), size) {
                    black_box(network.forward_batch(&rows, &mut batch));
                }
            });
            println!("  passed on in batches of {size}: {together:.3e} rows/s");
        }
        let mut learner = Learner::new(network, Learning { batch: 256, ..Learning::default() });
        let learned = rate(ROWS, || {
            for rows in scaled.axis_chunks_iter(Axis(0), 256) {
                learner.step(&rows, &mut random);
            }
        });
        println!("  learned from in batches of 256: {learned:.3e} rows/s");
        baselines(&rows, &forms, &mut random);
    }
}

fn baselines(rows: &Rows, forms: &[Form], random: &mut Random) {
    let (values, all) = (rows.values(), (0..rows.len()).collect::<Vec<_>>());
    let pca = Pca::learn(&values, &all, forms, 12, random);
    let forest = Forest::learn(&values, &all, random);
    let score = |score: &dyn Fn(&[f32]) -> f32| {
        rate(ROWS, || values.rows().into_iter().for_each(|row| _ = black_box(score(row.as_slice().unwrap()))))
    };
    println!(
        "  PCA: {:.3e} rows/s, forest: {:.3e}",
        score(&|row| pca.score(row)),
        score(&|row| forest.score(row))
    );
}

/// A device's contact, its outcome and its end: what a conversation costs before it is scored.
#[test]
#[ignore = "prints what it measures"]
fn speed_of_features() {
    let mut watch = Watch::new(10_000, 65_536, MINUTE);
    let mut at = 0_u64;
    let rate = rate(ROWS, || {
        for _ in 0..ROWS {
            at += 1;
            let (contact, ended) = conversation(at);
            watch.contact(&contact, None);
            watch.outcome(&contact, Outcome::Answered, contact.time);
            black_box(watch.ended(&ended, None, None, contact.time));
            while let Some(due) = watch.due(contact.time) {
                black_box(due);
            }
        }
    });
    println!(
        "rows of conversations and windows, 2,000 devices: {rate:.3e} conversations/s, {:.2} us",
        1e6 / rate
    );
}

fn conversation(at: u64) -> (Contact, FlowEnded) {
    let ip = |net, host: u64| IpAddr::V4(Ipv4Addr::new(10, net, (host >> 8) as u8, host as u8));
    let (device, peer) = (at * 7_919 % 2_000, at * 104_729 % 50);
    let id = FlowId {
        src: ip(1, device),
        dst: ip(2, peer),
        sport: (at % 60_000) as u16,
        dport: [80, 443, 445, 104, 53][at as usize % 5],
        proto: 6,
        kind: Kind::Ip,
        vlan: 0,
        port: 1,
    };
    let contact = Contact {
        class: None,
        device: host(device),
        id,
        time: Time::at(at * MINUTE / 10_000),
        new_peer: at.is_multiple_of(100),
        new_service: at.is_multiple_of(100),
        internal: true,
        alive: true,
        settled: true,
        midway: false,
        odd_flags: false,
        end_host: true,
        from_outside: false,
        forbidden: None,
        health: Health::Unknown,
        success: None,
        clean_since: Time::EARLIEST,
    };
    let half = Half { packets: at % 50, bytes: at % 50_000, drops: 0, tcp_flags: 0x1b };
    let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
    let ended = FlowEnded {
        id,
        smac: macs[0],
        dmac: macs[1],
        inner: None,
        to_server: half,
        to_client: half,
        start: contact.time,
        end: contact.time.plus(at % MINUTE),
        reason: EndReason::Closed,
        verdict: Verdict::Pass,
        earlier: None,
        devices: [None; 2],
    };
    (contact, ended)
}

/// The shapes that the design quotes, without scaling.
#[test]
#[ignore = "prints what it measures"]
fn speed_of_networks() {
    for (inputs, hidden) in [(64, [32, 12, 32]), (40, [24, 8, 24])] {
        let mut random = Random::new(1);
        let network = Network::new(inputs, &hidden, &mut random);
        let rows = Array2::from_shape_simple_fn((ROWS, inputs), || random.normal() as f32);
        let mut work = Work::default();
        let alone = rate(ROWS, || {
            for row in rows.rows() {
                black_box(network.forward(row.as_slice().unwrap(), &mut work));
            }
        });
        let mut batch = Batch::new(&network, 256);
        let together = rate(ROWS, || {
            for rows in rows.axis_chunks_iter(Axis(0), 256) {
                black_box(network.forward_batch(&rows, &mut batch));
            }
        });
        println!("{inputs}-{hidden:?}-{inputs}: {alone:.3e} rows/s singly, {together:.3e} in batches of 256");
    }
}

/// How long the loop that feeds the engine is held up by what it does for a training or a writing of the rows, and how long
/// a thread needs for the rest. `cargo test --release -p sensor-core --test model -- --ignored --nocapture pauses`.
#[test]
#[ignore = "prints what it measures"]
fn pauses() {
    for subject in [Subject::Flow, Subject::Window] {
        let class = Class::new(subject);
        let rows = class.rows(0..1_000, 66, 1);
        let mut full = Reservoir::new(65_536, subject.labels().len(), 1);
        let values = rows.values();
        for ((row, host), time) in values.rows().into_iter().zip(rows.hosts()).zip(rows.times()) {
            full.offer(*host, *time, row.as_slice().unwrap());
        }
        let row = values.row(0).to_vec();
        let offers =
            rate(1_000, || (0..1_000).for_each(|at| full.offer(host(at % 2_000), Time::at(at), &row)));
        let mut bytes = Vec::new();
        let milliseconds = |work: &mut dyn FnMut()| {
            let began = cpu_seconds();
            work();
            (cpu_seconds() - began) * 1e3
        };
        let copy = milliseconds(&mut || drop(black_box(full.rows().only(|_| true))));
        let clone = milliseconds(&mut || drop(black_box(full.clone())));
        let write = milliseconds(&mut || bytes = reservoir_file::write(&full, subject));
        let read = milliseconds(&mut || {
            drop(black_box(reservoir_file::read(&bytes, subject, 65_536, 1).unwrap()));
        });
        let forget = milliseconds(&mut || full.forget(Time::at(1)));
        println!(
            "{subject:?}: {} rows, {} bytes as a file; offer {:.2} us, copy for training {copy:.1} ms, copy for writing {clone:.1} \
             ms, forget {forget:.1} ms; on a thread: write {write:.1} ms, read {read:.1} ms",
            full.rows().len(),
            bytes.len(),
            1e6 / offers,
        );
    }
}
