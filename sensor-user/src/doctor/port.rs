//! The bridge and its ports.

use sensor_ebpf::control::MAX_IFINDEX;

use super::Finding;
use crate::bpf::survey::{BridgeFacts, Native, PortFacts};
use crate::bpf::{Offloads, list_offloads};
use crate::label;

/// As many ports as there are indices for.
const MOST_PORTS: usize = 255;
/// A kind of interface whose other end decides what is hidden.
const VETH: &str = "veth";

/// Judges the bridge asked for, or all there are.
pub fn judge(wanted: Option<&str>, bridges: &[BridgeFacts]) -> Vec<Finding> {
    let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
    let none = "make one with `ip link add name br0 type bridge` and give it ports with `ip link set dev PORT master br0`";
    let chosen: Vec<&BridgeFacts> =
        bridges.iter().filter(|bridge| wanted.is_none_or(|wanted| bridge.name == wanted)).collect();
    match (wanted, &chosen[..]) {
        (_, [_, ..]) => chosen.into_iter().flat_map(bridge).collect(),
        (Some(wanted), []) if !names.is_empty() => {
            let found = format!("there is no bridge {}", label::plain(wanted));
            vec![Finding::fail("bridge", found, format!("the bridges here are: {}", names.join(", ")))]
        }
        _ => vec![Finding::fail("bridge", "this network namespace has no bridge", none)],
    }
}

fn bridge(bridge: &BridgeFacts) -> Vec<Finding> {
    let (name, count) = (&bridge.name, bridge.ports.len());
    let found = format!("{name} has {}", label::count(count as u64, "port", "ports"));
    let mut findings = vec![match count {
        0 | 1 => {
            let hint = format!(
                "give it ports with `ip link set dev PORT master {name}`; they are filtered as they join"
            );
            Finding::warning("bridge", format!("{found}: nothing crosses it"), hint)
        }
        count if count > MOST_PORTS => {
            let found = format!("{found}: no more than {MOST_PORTS} can be filtered");
            Finding::fail("bridge", found, "spread them over several bridges")
        }
        _ => Finding::ok("bridge", found),
    }];
    findings.extend(bridge.ports.iter().flat_map(port));
    findings
}

fn port(facts: &PortFacts) -> Vec<Finding> {
    let index = (facts.ifindex >= MAX_IFINDEX).then(|| {
        let found = format!("interface index {} is beyond {}", facts.ifindex, MAX_IFINDEX - 1);
        Finding::fail("index", found, "make the interface anew after a restart, which counts from 1 again")
    });
    let findings = [Some(driver(facts)), Some(program(facts)), Some(offloads(facts)), bond(facts), index];
    let name = |finding: Finding| Finding { port: Some(facts.name.clone()), ..finding };
    findings.into_iter().flatten().map(name).collect()
}

fn driver(facts: &PortFacts) -> Finding {
    let driver = facts.driver.as_deref().unwrap_or("an unknown driver");
    let mtu = facts.mtu;
    match facts.native {
        Native::Yes => Finding::ok("driver", format!("{driver} runs the filter itself, at MTU {mtu}")),
        Native::AboveMtu(limit) => Finding::warning(
            "driver",
            format!(
                "{driver} runs the filter itself up to MTU {limit}, and this has {mtu}: generic mode, where each \
                     frame costs more"
            ),
            format!("ip link set dev {} mtu {limit} or less, if nobody needs more", facts.name),
        ),
        Native::No => Finding::warning(
            "driver",
            format!("{driver} runs no XDP programs: generic mode, where each frame costs more"),
            "for more than a few 100,000 frames a second use a card whose driver does (igb, igc, ixgbe, i40e, ice, mlx5)",
        ),
        Native::Unknown => Finding::warning(
            "driver",
            format!(
                "whether {driver} runs XDP programs is not known; if it does not: generic mode, where each frame \
                     costs more"
            ),
            "kernels from 6.3 on tell; `sekisho status` shows the mode once it runs",
        ),
    }
}

fn program(facts: &PortFacts) -> Finding {
    let Some(program) = &facts.program else {
        return Finding::ok("program", "no other XDP program is there");
    };
    let id = program.id;
    if program.own {
        return Finding::ok("program", format!("Sekisho's own (id {id}), which a start replaces in place"));
    }
    let name = program.name.as_deref().unwrap_or("its name may not be asked for");
    Finding::fail(
        "program",
        format!("another XDP program is there (id {id}, {name})"),
        format!(
            "remove it with `ip link set dev {} xdp off`, or take its place with `sekisho run --replace`",
            facts.name
        ),
    )
}

fn offloads(facts: &PortFacts) -> Finding {
    let names = |offloads: &Offloads| list_offloads(offloads);
    let plan = &facts.offloads;
    if !plan.fixed.is_empty() {
        return Finding::warning(
            "offloads",
            format!(
                "{} cannot be switched off: tags or segments may be hidden from the filter",
                names(&plan.fixed)
            ),
            "use a card whose driver can, or do without VLANs on this port",
        );
    }
    let mut found = if plan.switchable.is_empty() {
        "none is on that hides anything".to_owned()
    } else {
        format!("switched off while the port is filtered, and put back: {}", names(&plan.switchable))
    };
    if facts.driver.as_deref() == Some(VETH) {
        found.push_str("; VLAN tags are hidden as long as the other end has tx-vlan-hw-insert on");
    }
    Finding::ok("offloads", found)
}

fn bond(facts: &PortFacts) -> Option<Finding> {
    let members = facts.members.as_ref()?;
    let busy: Vec<&str> =
        members.iter().filter(|(_, program)| *program).map(|(name, _)| name.as_str()).collect();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let found = format!("a bond of {}: the filter goes on the bond", names.join(", "));
    Some(if busy.is_empty() {
        Finding::warning(
            "bond",
            format!("{found}, in native mode only if all its members' drivers run it"),
            "use the bond modes active-backup, balance-rr, balance-xor or 802.3ad, and put no program on a member",
        )
    } else {
        let hint = busy.iter().map(|name| format!("`ip link set dev {name} xdp off`"));
        Finding::fail(
            "bond",
            format!("{found}, and the kernel refuses that while a member has a program: {}", busy.join(", ")),
            hint.collect::<Vec<_>>().join(" and "),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Offload;
    use crate::bpf::survey::{OffloadPlan, ProgramFacts};
    use crate::doctor::Level;

    fn good(name: &str) -> PortFacts {
        PortFacts {
            name: name.to_owned(),
            ifindex: 3,
            driver: Some("igc".to_owned()),
            mtu: 1500,
            native: Native::Yes,
            program: None,
            offloads: OffloadPlan::default(),
            members: None,
        }
    }

    fn bridge_of(ports: Vec<PortFacts>) -> [BridgeFacts; 1] {
        [BridgeFacts { name: "br0".to_owned(), ports }]
    }

    #[test]
    fn each_fault_of_a_port_is_found_under_its_name() {
        let fixed = OffloadPlan { fixed: [Offload::RxVlan].into(), ..OffloadPlan::default() };
        let program = |own| Some(ProgramFacts { id: 7, name: Some("xdp_dispatcher".to_owned()), own });
        let bond = |program| Some(vec![("eth1".to_owned(), false), ("eth2".to_owned(), program)]);
        let cases = [
            (
                PortFacts { native: Native::AboveMtu(1500), ..good("p") },
                "driver",
                Level::Warning,
                "mtu 1500 or less",
            ),
            (PortFacts { native: Native::No, ..good("p") }, "driver", Level::Warning, "igc"),
            (PortFacts { native: Native::Unknown, ..good("p") }, "driver", Level::Warning, "6.3"),
            (PortFacts { program: program(false), ..good("p") }, "program", Level::Fail, "--replace"),
            (PortFacts { program: program(true), ..good("p") }, "program", Level::Ok, ""),
            (PortFacts { offloads: fixed, ..good("p") }, "offloads", Level::Warning, "use a card"),
            (PortFacts { members: bond(false), ..good("p") }, "bond", Level::Warning, "802.3ad"),
            (
                PortFacts { members: bond(true), ..good("p") },
                "bond",
                Level::Fail,
                "ip link set dev eth2 xdp off",
            ),
            (PortFacts { ifindex: MAX_IFINDEX, ..good("p") }, "index", Level::Fail, "anew"),
        ];
        for (facts, check, level, hint) in cases {
            let findings = judge(Some("br0"), &bridge_of(vec![facts, good("q")]));
            let found = findings.iter().find(|f| f.check == check && f.port.as_deref() == Some("p"));
            let found = found.unwrap_or_else(|| panic!("no {check}: {findings:?}"));
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{found:?}");
            let others = findings.iter().filter(|other| *other != found);
            assert!(others.clone().all(|other| other.level == Level::Ok), "{findings:?}");
        }
    }

    #[test]
    fn bridges_that_are_not_there_or_carry_nothing() {
        let level = |findings: Vec<Finding>| findings.iter().map(|finding| finding.level).max();
        let one = bridge_of(vec![good("p")]);
        let many = bridge_of((0..256).map(|_| good("p")).collect());
        assert_eq!(level(judge(None, &[])), Some(Level::Fail));
        assert_eq!(level(judge(Some("br7"), &one)), Some(Level::Fail));
        assert_eq!(level(judge(None, &one)), Some(Level::Warning));
        assert_eq!(level(judge(None, &bridge_of(Vec::new()))), Some(Level::Warning));
        assert_eq!(level(judge(None, &bridge_of(vec![good("p"), good("q")]))), Some(Level::Ok));
        assert_eq!(level(judge(None, &many)), Some(Level::Fail));
    }
}
