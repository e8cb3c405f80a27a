//! The kernel's side beside the intent: rules, switches, programs on the ports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use sensor_core::addr::Mac;
use sensor_core::datapath::{self, Plan, PortIndices, RuleKey};
use sensor_core::engine::{Engine, Output};
use sensor_core::policy::{Block, Decision, Origin, Target};
use sensor_core::settings::{Mode, Settings};
use sensor_core::time::Time;
use sensor_ebpf::rule::{AllowKey, LEVEL_PROTECT, RuleValue};

use super::Problem;
use crate::bpf::{Interface, PinView, Rules, interfaces, port_index, view};

/// What there should be.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    targets: BTreeMap<Target, RuleValue>,
    allowed: BTreeSet<AllowKey>,
    plan: Plan,
}

/// Whether a rule's time is up.
fn is_lapsed(rule: &RuleValue, now: Time) -> bool {
    rule.until_ns != 0 && rule.until_ns <= now.ns()
}

impl Intent {
    /// What the block list and the settings say, put together as the daemon does at its start.
    pub fn new(blocks: Vec<Block>, mut settings: Settings, now: Time) -> Self {
        // Entries are to stay as they are: the daemon may have been told another mode than the configuration's.
        let only_counted = |block: &Block| block.would && matches!(block.origin, Origin::Incident(_));
        settings.mode = if blocks.iter().any(only_counted) { Mode::Observe } else { Mode::Enforce };
        let plan = Plan::new(&settings);
        let mut intent = Self { targets: BTreeMap::new(), allowed: plan.allow.clone(), plan };
        let mut out = Output::default();
        Engine::new(settings).restore(blocks, &mut out);
        for decision in out.decisions {
            intent.note(decision);
        }
        intent.targets.retain(|_, rule| !is_lapsed(rule, now));
        intent
    }

    fn note(&mut self, decision: Decision) {
        match decision {
            Decision::Restrict(target, by) => {
                // What is protected stays so.
                let protected = self.targets.get(&target).is_some_and(|rule| rule.level == LEVEL_PROTECT);
                if !protected {
                    self.targets.insert(target, datapath::value(&by));
                }
            }
            Decision::Protect(target) => drop(self.targets.insert(target, datapath::protection())),
            Decision::Clear(target) => drop(self.targets.remove(&target)),
            Decision::Allow(list, allowed) => {
                self.allowed.extend(allowed.iter().map(|allow| allow.key(list)));
            }
            Decision::Forbid(list) => self.allowed.retain(|key| key.list != list),
            Decision::Begin(_) => {}
        }
    }

    /// The rules by the kernel's keys. Ports that are not there have none.
    pub fn rules(&self, ports: &PortIndices) -> BTreeMap<RuleKey, RuleValue> {
        let keyed = |(target, rule): (&Target, &RuleValue)| Some((self.plan.key(*target, ports)?, *rule));
        self.targets.iter().filter_map(keyed).collect()
    }

    /// What is not as it should be with the allow lists of the kernel.
    fn compare_allowed(&self, kernel: &BTreeSet<AllowKey>) -> Vec<Problem> {
        let missing = self.allowed.difference(kernel).count();
        let stray = kernel.difference(&self.allowed).count();
        let mut problems = Vec::new();
        if missing > 0 {
            problems.push(Problem::critical(format!("{missing} entries of allow lists are missing")));
        }
        if stray > 0 {
            problems.push(Problem::critical(format!("nobody decided {stray} entries of allow lists")));
        }
        problems
    }
}

/// What is not as it should be with the rules of the kernel.
fn compare_rules(
    wanted: &BTreeMap<RuleKey, RuleValue>,
    kernel: &BTreeMap<RuleKey, RuleValue>,
    now: Time,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, wanted) in wanted {
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
        if !wanted.contains_key(key) && !is_lapsed(rule, now) {
            problems.push(Problem::critical(format!("nobody decided the rule for {key}")));
        }
    }
    problems
}

/// What was found in the kernel.
#[derive(Debug)]
pub struct Found {
    /// The ports of the bridge.
    pub ports: Vec<Interface>,
    /// The MAC addresses of all interfaces here.
    pub own: BTreeSet<Mac>,
    /// How many of them have the program.
    pub filtered: usize,
    /// The rules there should be.
    pub rules: BTreeMap<RuleKey, RuleValue>,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// Compares the kernel with the intent.
pub fn compare(pin_dir: &Path, bridge: &str, intent: &Intent, now: Time) -> Result<Found> {
    let links = interfaces().context("asking for the interfaces")?;
    let master = links.iter().find(|link| link.name == bridge).map(|link| link.ifindex);
    let master = master.with_context(|| format!("there is no interface {bridge} here"))?;
    let own = links.iter().map(|link| link.mac).collect();
    let ports: Vec<_> = links.into_iter().filter(|link| link.master == Some(master)).collect();
    let pins = view(pin_dir, bridge)?;
    let mut problems = unfiltered(&ports, &pins);
    let filtered = ports.len() - problems.len();
    let mut rules = intent.rules(&PortIndices::new());
    match &pins.maps {
        Some(maps) => {
            rules = intent.rules(&indices(maps, &ports)?);
            let pinned = Rules::pinned(pin_dir, bridge)?;
            problems.extend(rules_of(pinned, intent, &rules, now)?);
        }
        None if pins.links.is_empty() => {
            problems.push(Problem::critical(format!("nothing is loaded for {bridge}: nobody is isolated")));
        }
        None => problems.push(Problem::critical(
            "the program in the kernel is of another release than this command".to_owned(),
        )),
    }
    Ok(Found { ports, own, filtered, rules, problems })
}

/// The index of each port.
fn indices(maps: &Path, ports: &[Interface]) -> Result<PortIndices> {
    let mut indices = PortIndices::new();
    for port in ports {
        let index = port_index(maps, port.ifindex)?;
        // The kernel's names are never longer than names may be.
        if let (1.., Ok(name)) = (index, port.name.parse()) {
            indices.insert(name, index);
        }
    }
    Ok(indices)
}

/// Ports without the program that is pinned for them.
fn unfiltered(ports: &[Interface], pins: &PinView) -> Vec<Problem> {
    let wrong = |port: &Interface| match port.xdp {
        None => Some(format!("port {} has no program: it is not filtered", port.name)),
        Some(xdp) if pins.links.contains(&(port.ifindex, xdp.program)) => None,
        Some(xdp) => Some(format!("port {} has another program (id {})", port.name, xdp.program)),
    };
    ports.iter().filter_map(wrong).map(Problem::critical).collect()
}

/// Rules and switches.
fn rules_of(
    mut rules: Rules,
    intent: &Intent,
    wanted: &BTreeMap<RuleKey, RuleValue>,
    now: Time,
) -> Result<Vec<Problem>> {
    let kernel = rules.list()?.into_iter().collect();
    let mut problems = compare_rules(wanted, &kernel, now);
    problems.extend(intent.compare_allowed(&rules.allowed()?));
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
    use sensor_core::policy::{Direction, Level, List};
    use sensor_core::time::SECOND;

    use super::super::State;
    use super::*;

    fn block(targets: &[&str], until: Option<u64>) -> Block {
        Block {
            id: 5,
            targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
            level: Level::Isolate,
            direction: Direction::Both,
            list: List::None,
            follows: false,
            origin: Origin::Manual("root".to_owned()),
            reason: String::new(),
            since: Time::at(0),
            until: until.map(|n| Time::at(n * SECOND)),
            would: false,
        }
    }

    #[test]
    fn each_difference_of_the_rules_is_found() {
        let now = Time::at(10 * SECOND);
        let settings =
            Settings { protected: ["10.0.0.1".parse().expect("a target")].into(), ..Settings::default() };
        let blocks = [
            block(&["10.0.0.7", "02:00:00:00:00:07"], Some(20)),
            Block { id: 6, ..block(&["10.0.0.8"], Some(9)) },
        ];
        let intent = Intent::new(blocks.to_vec(), settings, now);
        let wanted = intent.rules(&PortIndices::new());
        assert_eq!(wanted.len(), 3, "what is over is not wanted");
        let good = wanted.clone();
        let key = |text: &str| RuleKey::from(text.parse::<std::net::IpAddr>().expect("an address"));
        let with = |change: &dyn Fn(&mut BTreeMap<RuleKey, RuleValue>)| {
            let mut kernel = good.clone();
            change(&mut kernel);
            let problems = compare_rules(&wanted, &kernel, now);
            problems.into_iter().map(|problem| (problem.state, problem.what)).collect::<Vec<_>>()
        };
        let rule = |until| RuleValue { until_ns: until * SECOND, ..RuleValue::new(9, 6) };
        assert_eq!(with(&|_| {}), []);
        assert_eq!(
            with(&|kernel| {
                kernel.insert(key("10.0.0.9"), rule(5));
            }),
            [],
            "lapsed"
        );
        let critical = |what: &str| vec![(State::Critical, what.to_owned())];
        assert_eq!(
            with(&|kernel| {
                kernel.remove(&key("10.0.0.7"));
            }),
            critical("the rule for 10.0.0.7 is missing")
        );
        assert_eq!(
            with(&|kernel| {
                kernel.insert(key("10.0.0.7"), rule(0));
            }),
            critical("the rule for 10.0.0.7 is not as decided")
        );
        assert_eq!(
            with(&|kernel| {
                kernel.insert(key("10.0.0.9"), rule(0));
            }),
            critical("nobody decided the rule for 10.0.0.9")
        );
        assert_eq!(
            with(&|kernel| {
                kernel.remove(&key("10.0.0.1"));
            }),
            [(State::Warning, "10.0.0.1 is not protected in the kernel".to_owned())]
        );
    }
}
