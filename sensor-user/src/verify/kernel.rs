//! The kernel's side beside the intent: rules, switches, programs on the ports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use sensor_core::addr::Mac;
use sensor_core::datapath::{self, RuleKey};
use sensor_core::policy::{Block, Decision, Target, decisions};
use sensor_core::settings::Settings;
use sensor_core::time::Time;
use sensor_ebpf::rule::{LEVEL_PROTECT, RuleValue};

use super::Problem;
use crate::bpf::{Link, Links, PinView, Rules, view};

/// The rules there should be.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    rules: BTreeMap<RuleKey, RuleValue>,
}

/// Whether a rule's time is up.
fn is_lapsed(rule: &RuleValue, now: Time) -> bool {
    rule.until_ns != 0 && rule.until_ns <= now.0
}

impl Intent {
    /// What the block list and the settings say.
    pub fn new(blocks: &[Block], settings: &Settings, now: Time) -> Self {
        let gateway = |target: &Target| matches!(target, Target::Mac(mac) if settings.gateways.contains(mac));
        let protected = settings.protected.iter().filter(|target| !gateway(target));
        let protected = protected.map(|target| Decision::Protect(*target));
        let all = protected.chain(blocks.iter().flat_map(decisions));
        let rules = all.filter_map(|decision| {
            let (key, rule) = datapath::rule(&decision);
            rule.filter(|rule| !is_lapsed(rule, now)).map(|rule| (key, rule))
        });
        Self { rules: rules.collect() }
    }

    /// The rules.
    pub fn rules(&self) -> &BTreeMap<RuleKey, RuleValue> {
        &self.rules
    }

    /// What is not as it should be with the rules of the kernel.
    pub fn compare(&self, kernel: &BTreeMap<RuleKey, RuleValue>, now: Time) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, wanted) in &self.rules {
            match kernel.get(key) {
                Some(found) if found == wanted => {}
                Some(_) => problems.push(Problem::critical(format!("the rule for {key} is not as decided"))),
                // The daemon takes the protection of a MAC address back that turns out to be a router's.
                None if wanted.level == LEVEL_PROTECT => {
                    problems.push(Problem::warning(format!("{key} is not protected in the kernel")));
                }
                None => problems.push(Problem::critical(format!("the rule for {key} is missing"))),
            }
        }
        for (key, rule) in kernel {
            if !self.rules.contains_key(key) && !is_lapsed(rule, now) {
                problems.push(Problem::critical(format!("nobody decided the rule for {key}")));
            }
        }
        problems
    }
}

/// What was found in the kernel.
#[derive(Debug)]
pub struct Found {
    /// The ports of the bridge.
    pub ports: Vec<Link>,
    /// The MAC addresses of all interfaces here.
    pub own: BTreeSet<Mac>,
    /// How many of them have the program.
    pub filtered: usize,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// Compares the kernel with the intent.
pub fn compare(pin_dir: &Path, bridge: &str, intent: &Intent, now: Time) -> Result<Found> {
    let links = Links::open().and_then(|mut links| links.look()).context("asking for the interfaces")?;
    let master = links.iter().find(|link| link.name == bridge).map(|link| link.ifindex);
    let master = master.with_context(|| format!("there is no interface {bridge} here"))?;
    let own = links.iter().map(|link| link.mac).collect();
    let ports: Vec<_> = links.into_iter().filter(|link| link.master == Some(master)).collect();
    let pins = view(pin_dir, bridge)?;
    let mut problems = unfiltered(&ports, &pins);
    let filtered = ports.len() - problems.len();
    match &pins.maps {
        Some(maps) => problems.extend(maps_of(maps, intent, now)?),
        None if pins.links.is_empty() => {
            problems.push(Problem::critical(format!("nothing is loaded for {bridge}: nobody is isolated")));
        }
        None => problems.push(Problem::critical(
            "the program in the kernel is of another release than this command".to_owned(),
        )),
    }
    Ok(Found { ports, own, filtered, problems })
}

/// Ports without the program that is pinned for them.
fn unfiltered(ports: &[Link], pins: &PinView) -> Vec<Problem> {
    let wrong = |port: &Link| match port.xdp {
        None => Some(format!("port {} has no program: it is not filtered", port.name)),
        Some(xdp) if pins.links.contains(&(port.ifindex, xdp.program)) => None,
        Some(xdp) => Some(format!("port {} has another program (id {})", port.name, xdp.program)),
    };
    ports.iter().filter_map(wrong).map(Problem::critical).collect()
}

/// Rules and switches.
fn maps_of(maps: &Path, intent: &Intent, now: Time) -> Result<Vec<Problem>> {
    let mut rules = Rules::pinned(maps)?;
    let kernel = rules.list()?.into_iter().collect();
    let mut problems = intent.compare(&kernel, now);
    let (config, armed) = (rules.config()?, rules.armed()?);
    if config.bypass != 0 {
        problems.push(Problem::critical("bypass is on: every frame passes"));
    } else if config.armed != armed {
        problems.push(Problem::critical(format!(
            "the switches of the rules are {:#x} instead of {armed:#x}: not all are asked",
            config.armed
        )));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use sensor_core::policy::{Level, Origin};
    use sensor_core::time::SECOND;

    use super::super::State;
    use super::*;

    fn block(targets: &[&str], until: Option<u64>) -> Block {
        Block {
            id: 5,
            targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
            level: Level::Isolate,
            origin: Origin::Manual("root".to_owned()),
            reason: String::new(),
            since: Time(0),
            until: until.map(|n| Time(n * SECOND)),
            would: false,
        }
    }

    #[test]
    fn each_difference_of_the_rules_is_found() {
        let now = Time(10 * SECOND);
        let settings =
            Settings { protected: ["10.0.0.1".parse().expect("a target")].into(), ..Settings::default() };
        let blocks = [block(&["10.0.0.7", "02:00:00:00:00:07"], Some(20)), block(&["10.0.0.8"], Some(9))];
        let intent = Intent::new(&blocks, &settings, now);
        assert_eq!(intent.rules().len(), 3, "what is over is not wanted");
        let good = intent.rules().clone();
        let key = |text: &str| RuleKey::from(text.parse::<std::net::IpAddr>().expect("an address"));
        let with = |change: &dyn Fn(&mut BTreeMap<RuleKey, RuleValue>)| {
            let mut kernel = good.clone();
            change(&mut kernel);
            let problems = intent.compare(&kernel, now);
            problems.into_iter().map(|problem| (problem.state, problem.what)).collect::<Vec<_>>()
        };
        let rule = |until| RuleValue { until_ns: until * SECOND, ..RuleValue::new(9, 6) };
        assert_eq!(with(&|_| {}), []);
        assert_eq!(with(&|kernel| drop(kernel.insert(key("10.0.0.9"), rule(5)))), [], "lapsed");
        let critical = |what: &str| vec![(State::Critical, what.to_owned())];
        assert_eq!(
            with(&|kernel| drop(kernel.remove(&key("10.0.0.7")))),
            critical("the rule for 10.0.0.7 is missing")
        );
        assert_eq!(
            with(&|kernel| drop(kernel.insert(key("10.0.0.7"), rule(0)))),
            critical("the rule for 10.0.0.7 is not as decided")
        );
        assert_eq!(
            with(&|kernel| drop(kernel.insert(key("10.0.0.9"), rule(0)))),
            critical("nobody decided the rule for 10.0.0.9")
        );
        assert_eq!(
            with(&|kernel| drop(kernel.remove(&key("10.0.0.1")))),
            [(State::Warning, "10.0.0.1 is not protected in the kernel".to_owned())]
        );
    }
}
