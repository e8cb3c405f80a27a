//! What keeps a daemon from starting: each told with what to do, and nothing is left of the attempt.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use aya::EbpfLoader;
use aya::programs::{Xdp, XdpMode};
use bpf_tests::daemon::{METRICS, Site, Told, copy_for_all, finish, site};
use bpf_tests::lab::{BRIDGE, Lab, has_xdp, mac};
use bpf_tests::small::empty_object;
use bpf_tests::traffic::check_ways;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use sensor_user::bpf::{OBJECT, load_programs};

/// Ports that have a program, by ip(8).
fn with_program(site: &Site) -> Result<Vec<String>> {
    let list = site.lab.ip("-o -d link show")?;
    let name =
        |line: &str| line.split(": ").nth(1).and_then(|name| name.split('@').next()).map(str::to_owned);
    Ok(list.lines().filter(|line| has_xdp(line)).filter_map(name).collect())
}

/// Runs the daemon in this site with fewer rights, as `setpriv` takes them.
fn run_with(site: &Site, rights: &[&str]) -> Result<Told> {
    let copy = copy_for_all(&site.path("."))?;
    let mut command = Command::new("setpriv");
    command.args(rights).arg("--").arg(copy).args(site.run_arguments(BRIDGE));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    finish(command)
}

#[test]
fn a_bridge_that_is_not_there_or_none() -> Result<()> {
    site(2, |site| {
        site.run("br7", &[])?.check_failed(&["there is no interface br7; the bridges here are: br0"])?;
        site.check_untouched()?;
        let words = "p1 is not a bridge but an interface of kind veth; the bridges here are: br0";
        site.run("p1", &[])?.check_failed(&[words])?;
        site.check_untouched()?;
        site.lab.ip(&format!("link del {BRIDGE}"))?;
        site.run(BRIDGE, &[])?
            .check_failed(&["there is no interface br0", "ip link add name br0 type bridge"])?;
        site.check_untouched()
    })
}

#[test]
fn too_few_rights() -> Result<()> {
    site(1, |site| {
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
        let hint = "run as root, or as a service with those capabilities";
        run_with(site, &nobody)?.check_failed(&["CAP_BPF and CAP_NET_ADMIN", hint])?;
        site.check_untouched()?;
        run_with(site, &["--bounding-set=-net_admin"])?.check_failed(&["needs CAP_NET_ADMIN", hint])?;
        site.check_untouched()?;
        let unsighted = run_with(site, &["--bounding-set=-perfmon,-sys_admin"])?;
        unsighted.check_failed(&["needs CAP_PERFMON", hint])?;
        site.check_untouched()
    })
}

#[test]
fn a_kernel_that_cannot_make_ring_buffers() -> Result<()> {
    site(1, |site| {
        // Stands in for an old kernel: it answers EINVAL to a map type it does not know. Which type is asked for a filter
        // cannot see, but a ring is what is asked for first.
        const BPF_MAP_CREATE: u64 = 0;
        let create = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, BPF_MAP_CREATE)?;
        let filter: BpfProgram = SeccompFilter::new(
            BTreeMap::from([(libc::SYS_bpf, vec![SeccompRule::new(vec![create])?])]),
            SeccompAction::Allow,
            SeccompAction::Errno(u32::try_from(libc::EINVAL)?),
            std::env::consts::ARCH.try_into()?,
        )?
        .try_into()?;
        let mut command = Command::new(site.program());
        command.args(site.run_arguments(BRIDGE)).env_remove("RUST_LOG").stdin(Stdio::null());
        // The filter is of one thread and of what that starts.
        let told = thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                seccompiler::apply_filter(&filter)?;
                finish(command)
            });
            filtered.join().map_err(|_| anyhow!("the thread panicked"))?
        })?;
        told.check_failed(&["cannot make a BPF ring buffer", "Linux 5.9 or newer", "this is Linux "])?;
        site.check_untouched()
    })
}

#[test]
fn pins_that_are_not_on_a_bpf_file_system() -> Result<()> {
    site(1, |site| {
        let mut arguments = site.run_arguments(BRIDGE);
        let place = arguments.last_mut().context("the pin directory")?;
        *place = site.path("pins").display().to_string();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        site.plain(&arguments)?.check_failed(&["is not on a BPF file system", "mount -t bpf bpf "])?;
        ensure!(!site.path("pins").exists(), "pins were made");
        site.check_untouched()
    })
}

#[test]
fn a_configuration_with_three_mistakes() -> Result<()> {
    site(1, |site| {
        site.configure(
            "mode = \"enforced\"\n\n[isolation]\ndurations = [\"1 fortnight\"]\n\n[detect.scan]\nbening_success = 0.8\n",
        )?;
        let config = site.path("sekisho.toml").display().to_string();
        for told in [site.run(BRIDGE, &[])?, site.plain(&["check", &config])?] {
            told.check_failed(&[
                &format!("3 problems in the configuration {config}"),
                "line 1: mode: ",
                "line 4: isolation.durations[0]: ",
                "line 7: detect.scan.bening_success: ",
            ])?;
            assert_eq!(told.err.matches("hint: ").count(), 3, "{}", told.err);
            assert_eq!(told.out, "");
        }
        let told = site.plain(&["check", &config, "-o", "json"])?;
        assert_eq!(told.code, Some(1));
        let problems = told.lines()?[0]["problems"].as_array().cloned().context("problems")?;
        let lines: Vec<_> = problems.iter().map(|problem| problem["line"].as_u64()).collect();
        assert_eq!(lines, [Some(1), Some(4), Some(7)], "{problems:?}");
        for problem in &problems {
            let says = |key| problem[key].as_str().is_some_and(|text| !text.is_empty());
            ensure!(["key", "what", "hint"].into_iter().all(says), "{problem}");
        }
        site.check_untouched()?;

        fs::remove_file(&config)?;
        site.run(BRIDGE, &[])?.check_failed(&["cannot read the configuration", "--config"])?;
        site.check_untouched()
    })
}

#[test]
fn a_bridge_that_another_daemon_watches() -> Result<()> {
    site(3, |site| {
        let first = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        let words = format!("another Sekisho (pid {}) is already watching br0: stop it first", first.pid());
        let elsewhere = site.another()?;
        for second in [site, &elsewhere] {
            second.run(BRIDGE, &["--metrics", "off"])?.check_failed(&[&words, "sekisho status"])?;
        }
        ensure!(
            !elsewhere.state_dir().exists() && !elsewhere.pin_dir().exists(),
            "the second left something"
        );

        // A bridge of its own does not let it into what the first one has.
        site.lab.ip("link add br1 type bridge")?;
        let told = site.run("br1", &["--metrics", "off"])?;
        told.check_failed(&["another daemon uses the state directory", "--state-dir"])?;
        ensure!(site.tell(&["detach", "--pin-dir", "x"])?.code == Some(2), "detach takes no socket");
        let pins = site.pin_dir().display().to_string();
        site.plain(&["detach", "--pin-dir", &pins])?
            .check_failed(&["another daemon is using the pins", "stop it"])?;

        assert_eq!(with_program(site)?, ["p1", "p2", "p3"]);
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(1));
        check_ways(site.lab, "the first goes on", false, &[(1, "10.77.0.2")])?;
        check_ways(site.lab, "the first goes on", true, &[(2, "10.77.0.3")])
    })
}

#[test]
fn an_address_of_the_metrics_that_is_taken_and_a_socket_that_is_none() -> Result<()> {
    site(1, |site| {
        let taken = TcpListener::bind(METRICS)?;
        let words =
            ["cannot serve metrics at 127.0.0.1:9935: the port is in use", "--metrics", "metrics_listen"];
        site.run(BRIDGE, &[])?.check_failed(&words)?;
        site.check_nothing_left()?;
        site.run(BRIDGE, &["--metrics", "192.0.2.7:9935"])?
            .check_failed(&["cannot serve metrics at 192.0.2.7:9935", "--metrics"])?;
        site.check_nothing_left()?;
        drop(taken);

        fs::write(site.socket(), "somebody's file")?;
        let told = site.run(BRIDGE, &[])?;
        told.check_failed(&["control.sock", "not a socket"])?;
        assert_eq!(fs::read_to_string(site.socket())?, "somebody's file");
        fs::remove_file(site.socket())?;
        site.check_nothing_left()
    })
}

#[test]
fn a_port_that_has_another_program() -> Result<()> {
    site(3, |site| {
        let mut stranger = EbpfLoader::new().load(OBJECT)?;
        load_programs(&mut stranger)?;
        let program: &mut Xdp = stranger.program_mut("sekisho_clock").context("there")?.try_into()?;
        let link = program.attach("p2", XdpMode::Driver)?;
        let told = site.run(BRIDGE, &[])?;
        told.check_failed(&["another XDP program (id ", "is attached to p2", "ip link set dev p2 xdp off"])?;
        assert_eq!(with_program(site)?, ["p2"], "only the stranger's");
        ensure!(!site.pin_dir().exists() && !site.socket().exists(), "something is left");
        check_ways(site.lab, "not started", true, &[(1, "10.77.0.2"), (2, "10.77.0.3")])?;

        program.detach(link)?;
        let own = site.another()?;
        own.start(&[])?.kill()?;
        let told = site.run(BRIDGE, &[])?;
        told.check_failed(&[
            "already has the program of a Sekisho with other pins",
            "sekisho detach",
            "--pin-dir",
        ])?;
        assert_eq!(with_program(site)?, ["p1", "p2", "p3"], "those of the one that was killed");
        ensure!(!site.pin_dir().exists() && !site.socket().exists(), "something is left");
        // What the message says helps.
        let told = own.plain(&["detach", "--pin-dir", &own.pin_dir().display().to_string()])?;
        ensure!(told.code == Some(0), "{told:?}");
        site.check_nothing_left()?;
        site.start(&[])?.stop().map(drop)
    })
}

#[test]
fn another_program_is_replaced_when_told_to() -> Result<()> {
    site(3, |site| {
        // One that was attached without a link, as ip(8) and xdp-loader do, one generically, and one by a link.
        let object = site.path("pass.o");
        fs::write(&object, empty_object()?)?;
        site.lab.ip(&format!("link set dev p1 xdp obj {} sec xdp", object.display()))?;
        site.lab.ip(&format!("link set dev p3 xdpgeneric obj {} sec xdp", object.display()))?;
        let mut stranger = EbpfLoader::new().load(OBJECT)?;
        load_programs(&mut stranger)?;
        let program: &mut Xdp = stranger.program_mut("sekisho_clock").context("there")?.try_into()?;
        program.attach("p2", XdpMode::Driver)?;
        let daemon = site.start(&["--mode", "enforce", "--replace"])?;
        let log = daemon.log()?;
        for port in ["p1", "p2", "p3"] {
            ensure!(log.contains(&format!("{port}: took the place of the XDP program ")), "{log}");
        }
        ensure!(log.contains("ports: p1 (native), p2 (native), p3 (native)"), "{log}");
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        check_ways(site.lab, "replaced", false, &[(1, "10.77.0.2")])?;
        check_ways(site.lab, "replaced", true, &[(2, "10.77.0.3")])
    })
}

#[test]
fn a_program_that_cannot_be_told_from_another_namespaces_is_not_replaced() -> Result<()> {
    let elsewhere = Lab::new(2)?;
    site(2, |site| {
        let mut stranger = EbpfLoader::new().load(OBJECT)?;
        load_programs(&mut stranger)?;
        let program: &mut Xdp = stranger.program_mut("sekisho_clock").context("there")?.try_into()?;
        program.attach("p2", XdpMode::Driver)?;
        // The same program on an interface of the same index: the kernel tells the two links not apart.
        elsewhere.on_switch(|_| Ok(program.attach("p2", XdpMode::Driver).map(drop)?))?;
        site.run(BRIDGE, &["--replace"])?.check_failed(&[
            "on p2 could not be replaced",
            "2 BPF links hold it",
            "stop the program that made it",
        ])?;
        assert_eq!(with_program(site)?, ["p2"], "only the stranger's");
        ensure!(has_xdp(&elsewhere.ip("link show p2")?), "the other namespace's was cut");
        ensure!(!site.pin_dir().exists() && !site.socket().exists(), "something is left");
        // A Sekisho with other pins is not a stranger.
        drop(stranger);
        let own = site.another()?;
        own.start(&[])?.kill()?;
        site.run(BRIDGE, &["--replace"])?
            .check_failed(&["already has the program of a Sekisho with other pins"])
    })
}
