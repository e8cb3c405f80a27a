//! Tests of the configuration as data: a text and what must be told about it.

use proptest::prelude::*;
use sensor_core::detect;
use sensor_core::settings::{Mode, Off, ReflexMode, Settings};
use sensor_core::time::{HOUR, MINUTE, SECOND};
use sensor_notify::settings::{Format, LampProtocol, Language, Means, Series};

use super::*;

/// The problems of a text, as `line key: what | hint`.
fn problems(text: &str) -> Vec<String> {
    let problems = parse(text.as_bytes()).err().unwrap_or_default();
    problems.iter().map(|p| format!("{} {}: {} | {}", p.line, p.key, p.what, p.hint)).collect()
}

#[test]
fn three_mistakes_are_told_at_once() {
    let text = "mode = \"obsreve\"\n\n[isolation]\nduratoin = \"4h\"\nseverity = 9\n";
    let want = [
        r#"1 mode: must be "observe" or "enforce", and is "obsreve" | write it like: mode = "observe""#,
        "4 isolation.duratoin: is not a known key | did you mean `durations`?",
        "5 isolation.severity: 9 is out of range | give 0 to 3",
    ];
    assert_eq!(problems(text), want);
}

#[test]
fn each_kind_of_mistake_is_told() {
    for (text, want) in [
        ("mod = 1", "1 mod: is not a known key | did you mean `mode`?"),
        ("durations = [\"4h\"]", "1 durations: is not a known key | `durations` belongs under [isolation]"),
        (
            "[limits]\nmode = \"observe\"",
            "2 limits.mode: is not a known key | `mode` belongs above the first [section]",
        ),
        (
            "[network]\nzzz = 1",
            "2 network.zzz: is not a known key | known here: internal, gateways, gateway_ips",
        ),
        ("[isolatoin]\nseverity = 1", "1 isolatoin: is not a known key | did you mean `isolation`?"),
        (
            "isolation = 5",
            "1 isolation: is a section, not a key | write [isolation] on a line of its own, and its keys below",
        ),
        (
            "[isolation]\nseverity = \"high\"",
            "2 isolation.severity: must be a whole number, and is the text \"high\" | write it like: severity = 1",
        ),
        ("[isolation]\nbudget = -1", "2 isolation.budget: -1 is out of range | give 0 to 10000"),
        (
            "[isolation]\nbudget = 99999999999999999999",
            "2 isolation.budget: 99999999999999999999 is out of range | give 0 to 10000",
        ),
        (
            "[isolation]\ndurations = [4]",
            "2 isolation.durations[0]: must be a length of time in quotes, and is the number 4 | write it like: durations = [\"1h\", \"1d\", \"1w\"]",
        ),
        (
            "[isolation]\ndurations = [\"4\"]",
            "2 isolation.durations[0]: `4` has no unit; write 4s for seconds, 4m for minutes or 4h for hours | write it like: durations = [\"1h\", \"1d\", \"1w\"]",
        ),
        (
            "[isolation]\ndurations = [\"3000d\"]",
            "2 isolation.durations[0]: 3000d is out of range | give 1s to 52w 1d",
        ),
        (
            "[isolation]\ndurations = [\"1h\", \"10m\"]",
            "2 isolation.durations: must be one length of time or several, each longer than the one before | write it like: durations = [\"1h\", \"1d\", \"1w\"]",
        ),
        (
            "[isolation]\nduration = \"1h\"",
            "2 isolation.duration: is not a known key | did you mean `durations`?",
        ),
        (
            "[decide]\ngraded = \"yes\"",
            "2 decide.graded: must be true or false, and is the text \"yes\" | write it like: graded = true",
        ),
        ("[detect.fanout]\nfactor = nan", "2 detect.fanout.factor: nan is out of range | give 1 to 1000"),
        (
            "[network]\ngateways = \"00:1b:21:0a:0b:0c\"",
            "2 network.gateways: must be a list in [ ], and is the text \"00:1b:21:0a:0b:0c\" | write it like: gateways = [\"00:1b:21:0a:0b:0c\"]",
        ),
        (
            "[network]\ngateways = [\n  \"00:1b:21:0a:0b:0c\",\n  \"00:1b:21:0a:0b\",\n]",
            "4 network.gateways[1]: \"00:1b:21:0a:0b\" is not a MAC address | write six pairs of 0-9 and a-f, like \"00:1b:21:0a:0b:0c\"",
        ),
        (
            "[network]\ngateways = [\"00:1b:21:0a:0b:0c\", \"00-1B-21-0A-0B-0C\"]",
            "2 network.gateways[1]: is in the list already | take one of them out",
        ),
        (
            "[network]\ngateways = [\"ff:ff:ff:ff:ff:ff\"]",
            "2 network.gateways[0]: ff:ff:ff:ff:ff:ff is a broadcast, multicast or empty address | give one device's own",
        ),
        (
            "[network]\ninternal = [\"10.0.0.0/33\"]",
            "2 network.internal[0]: \"10.0.0.0/33\" is not a network | write an address and how many of its bits count, like \"10.0.0.0/8\" or \"fd00::/8\"",
        ),
        (
            "[isolation]\nprotected = [\"MRI\"]",
            "2 isolation.protected[0]: \"MRI\" is neither a MAC nor an IP address | write one device's MAC or IP address, like \"00:1b:21:0a:0b:0c\", \"10.0.0.7\" or \"fd00::7\"",
        ),
        (
            "metrics_listen = \"9935\"",
            "1 metrics_listen: \"9935\" is not an address and port | write it like \"127.0.0.1:9935\" or \"[::1]:9935\", or \"off\" for no metrics",
        ),
        (
            "oui_file = \" \"",
            "1 oui_file: is empty | write it like: oui_file = \"/usr/share/ieee-data/oui.txt\"",
        ),
        ("mode = \"observe\"\nmode = \"enforce\"", "2 mode: is given twice | take one of them out"),
        (
            "[names]\n\"10.0.0.7\" = \"A\"\n\"::ffff:10.0.0.7\" = \"B\"",
            "3 names.\"::ffff:10.0.0.7\": names an address that has a name already | take one of them out",
        ),
        (
            "[names]\n\"10.0.0.7\" = 7",
            "2 names.\"10.0.0.7\": must be a text in quotes, and is the number 7 | write it like: \"10.0.0.7\" = \"MRI 2, building A\"",
        ),
        (
            "[detect.port_scan]\nisolate = 4",
            "2 detect.port_scan.isolate: isolate must not be less than alert: to isolate takes more certainty | the defaults are `isolate = 20` and `alert = 8`",
        ),
    ] {
        assert_eq!(problems(text), [want], "{text}");
    }
}

#[test]
fn a_line_that_cannot_be_read_does_not_hide_those_before_it() {
    let found = problems("mode = \"off\"\n[isolation\nseverity = 1\nfoo = 2\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("1 mode: must be"), "{found:#?}");
    assert!(found[1].starts_with("2 : cannot be read: ") && found[1].contains("`[isolation`"), "{found:#?}");
}

#[test]
fn a_text_without_its_quotes_is_one_problem() {
    let found = problems("[isolation]\nduration = 4h\nseverity = 9\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("`duration = 4h`"), "{found:#?}");
}

#[test]
fn a_duplicate_does_not_hide_the_others() {
    let found = problems("mode = \"observe\"\nmode = \"observe\"\n[limits]\nflows = 1\n");
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn a_file_of_another_encoding_is_told() {
    let problems = parse(b"mode = \"observe\"\n# \xff\n").unwrap_err();
    assert_eq!(problems[0].to_string(), "line 2: the file is not UTF-8 text\n    hint: save it as UTF-8");
}

#[test]
fn the_report_says_it_all() {
    let file = std::path::Path::new("/etc/sekisho/sekisho.toml");
    let problems = parse(b"mod = 1\n[limits]\nflows = 1\n").unwrap_err();
    let want = "2 problems in the configuration /etc/sekisho/sekisho.toml\n  \
        line 1: mod: is not a known key\n      hint: did you mean `mode`?\n  \
        line 3: limits.flows: 1 is out of range\n      hint: give 1024 to 4194304";
    assert_eq!(ConfigError::Wrong { file: file.to_owned(), problems }.to_string(), want);
}

#[test]
fn values_arrive_where_they_belong() {
    let text = r#"
        mode = "enforce"
        metrics_listen = "off"
        [network]
        internal = ["192.0.2.0/24"]
        gateways = ["00:1B:21:0A:0B:0C"]
        [isolation]
        durations = ["4h", "2d"]
        protected = ["10.0.0.7", "00:1b:21:0a:0b:0d", "10.1.0.0/16"]
        [detect]
        scan.benign_success = 0.9
        lateral = { window = "2m", limit = 7 }
        [names]
        "10.0.0.7" = " MRI 2 "
    "#;
    let config = parse(text.as_bytes()).unwrap();
    let settings = config.settings;
    assert_eq!((settings.mode, config.daemon.metrics_listen), (Mode::Enforce, None));
    assert_eq!(settings.internal, ["192.0.2.0/24".parse().unwrap()]);
    assert!(settings.gateways.contains(&"00:1b:21:0a:0b:0c".parse().unwrap()));
    assert_eq!(settings.isolate_for_ns, [4 * HOUR, 48 * HOUR]);
    assert_eq!((settings.protected.len(), settings.protected_nets.len()), (2, 1));
    assert_eq!((settings.lateral.window_ns, settings.lateral.limit), (2 * MINUTE, 7));
    assert_eq!(settings.scan.benign_success, 0.9);
    assert_eq!(settings.names[&"10.0.0.7".parse().unwrap()], "MRI 2");
}

#[test]
fn segments_lists_and_budgets_arrive() {
    let text = r#"
        [reflex]
        mode = "enforce"
        per_second = 7
        [throttle]
        kib_per_second = 64
        [segments.ward-3]
        ports = ["eth1", "eth2.7"]
        reflex = "off"
        [segments]
        lab = { vlans = [20, 4094], reflex_burst = 9 }
        [allow]
        repair = ["arp", "dhcp", "dns 10.0.0.1", "serve tcp/104 10.0.0.9"]
    "#;
    let settings = parse(text.as_bytes()).unwrap().settings;
    let name = |text: &str| text.parse::<sensor_core::policy::Name>().unwrap();
    let budget = |segment: &str| settings.segments[&name(segment)].budget(&settings.reflex);
    let (ward, lab) = (budget("ward-3"), budget("lab"));
    assert_eq!((ward.mode, ward.per_second, ward.burst), (ReflexMode::Off, 7, 100));
    assert_eq!((lab.mode, lab.per_second, lab.burst), (ReflexMode::Enforce, 7, 9));
    assert_eq!(settings.segments[&name("lab")].vlans, [20, 4094]);
    assert_eq!((settings.segment(name("lab")), settings.segment(name("ward-3"))), (Some(1), Some(2)));
    assert_eq!(settings.throttle.kib_per_second, 64);
    assert_eq!(settings.allow[&name("repair")].len(), 6);
    assert_eq!((settings.list(name("default")), settings.list(name("repair"))), (1, 2));
}

#[test]
fn detectors_are_switched_off_by_segment() {
    let text = "[segments]\na = { vlans = [7] }\n[detect.off]\nscan = [\"a\"]\nswarm = [\"everywhere\", \"a\"]\nbrute = []\n";
    let off = parse(text.as_bytes()).unwrap().settings.detectors_off;
    let a = Off::In(["a".parse().unwrap()].into());
    assert_eq!(off, [("scan", a), ("swarm", Off::Everywhere)].into());
    let wrong =
        "[detect.off]\nscam = [\"a\"]\nscan = [\"b c\"]\nlateral = \"a\"\n[segments]\na = { vlans = [7] }\n";
    let detectors = detect::names().collect::<Vec<_>>().join(", ");
    assert_eq!(
        problems(wrong),
        [
            format!("2 detect.off.\"scam\": is not a detector | those there are: {detectors}"),
            "3 detect.off.\"scan\"[0]: \"b c\" is not a name | names have up to 31 letters, digits and signs, no spaces and no /".to_owned(),
            "4 detect.off.\"lateral\": must be a list in [ ], and is the text \"a\" | write it like: fanout = [\"everywhere\"]".to_owned(),
        ]
    );
    let gone = "[detect.off]\nscan = [\"a\", \"b\"]\n[segments]\na = { vlans = [7] }\n";
    let want = "1 detect.off.\"scan\": there is no segment b | segments: a";
    assert_eq!(problems(gone), [want]);
}

#[test]
fn what_is_forbidden_is_read_with_all_its_mistakes() {
    let text = "[segments]\na = { vlans = [7] }\n[[forbid]]\nfrom = \"a\"\nto = \"outside\"\n[[forbid]]\nto = \"10.9.0.0/16\"\nservice = \"tcp/445\"\n";
    let rules = parse(text.as_bytes()).unwrap().settings.forbid;
    let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["a -> outside", "any -> 10.9.0.0/16 tcp/445"]);
    let wrong =
        "[[forbid]]\nfrom = \"b\"\n[[forbid]]\nservice = \"smb\"\nform = 1\n[[forbid]]\nto = \"any\"\n";
    assert_eq!(
        problems(wrong),
        [
            "4 forbid[1].service: \"smb\" is no service | write \"any\", or like \"tcp/445\", \"udp/161\", \"icmp\"",
            "5 forbid[1].form: is not a known key | known here: from, to, service",
            "6 forbid[2]: forbids everything to everybody | give it from, to or service, or two of them",
        ]
    );
    assert_eq!(
        problems("[[forbid]]\nfrom = \"b\"\n"),
        ["1 forbid[0]: there is no segment b | segments: there are none"]
    );
}

#[test]
fn mistakes_in_segments_and_lists_are_told_all_at_once() {
    let text = r#"[segments.a]
ports = ["eth1", "a b"]
vlans = [0, 7]
reflex = "on"
color = 7
[segments."b c"]
ports = ["eth1"]
[segments.d]
[segments.e]
reflex_burst = 0
[allow]
x = ["arp", "ftp/21", "10.0.0.0/8"]
y = "arp"
[throttle]
kib_burst = 1
[network]
internal = ["::/0"]
"#;
    let port = "names have up to 31 letters, digits and signs, no spaces and no /";
    let line = r#"write "arp", "dhcp", "dns 10.0.0.1", "10.0.0.1", "udp/123", "tcp/104 10.0.0.1" or "serve tcp/104 10.0.0.1""#;
    let want = [
        format!("2 segments.\"a\".ports[1]: \"a b\" is not a name | {port}"),
        "3 segments.\"a\".vlans[0]: 0 is out of range | give 1 to 4094".to_owned(),
        "4 segments.\"a\".reflex: must be \"off\" or \"count\" or \"enforce\", and is \"on\" | write it like: reflex = \"enforce\"".to_owned(),
        "5 segments.\"a\".color: is not a known key | known here: ports, vlans, reflex, reflex_per_second, reflex_burst".to_owned(),
        format!("6 segments.\"b c\": \"b c\" is not a name | {port}"),
        "8 segments.\"d\": has neither ports nor VLANs | give it ports = [...], vlans = [...], or both".to_owned(),
        "10 segments.\"e\".reflex_burst: 0 is out of range | give 1 to 1000000".to_owned(),
        format!("12 allow.\"x\"[1]: `ftp/21` is no service | {line}"),
        format!("12 allow.\"x\"[2]: `10.0.0.0/8` is no service | {line}"),
        "13 allow.\"y\": must be a list in [ ], and is the text \"arp\" | write it like: repair = [\"arp\", \"dhcp\", \"dns 10.0.0.1\", \"tcp/443 10.0.0.9\"]".to_owned(),
        "15 throttle.kib_burst: 1 is out of range | give 64 to 16777216".to_owned(),
        "17 network.internal[0]: ::/0 is so wide that all of IPv4 lies in it | write an address and how many of its bits count, like \"10.0.0.0/8\" or \"fd00::/8\"".to_owned(),
    ];
    assert_eq!(problems(text), want);
    let both =
        "[segments]\na = { ports = [\"eth1\"], vlans = [7] }\nb = { ports = [\"eth1\"], vlans = [7] }\n";
    let found = problems(both);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("port eth1 is in both a and b"), "{found:#?}");
    let many: String = (0..64).map(|n| format!("s{n} = {{ ports = [\"p{n}\"] }}\n")).collect();
    assert!(problems(&format!("[segments]\n{many}"))[0].contains("there are more than 63"));
}

#[test]
fn classes_are_read_and_checked() {
    use sensor_core::policy::Level;
    use sensor_core::policy::class::{Asks, Criticality};
    let config = parse(
        br#"
        [classes.icu]
        kind = "life-critical"
        members = ["00:1b:21:0a:0b:0c", "10.0.0.7", "10.1.0.0/16", "mri 2"]
        [classes.server]
        members = ["10.0.0.8"]
        [classes.printers]
        members = ["10.0.0.9"]
        highest = "alert"
        approve = "throttle"
        [names]
        "10.0.0.10" = "MRI 2"
        "#,
    )
    .unwrap();
    let of = |name: &str| config.settings.classes[&name.parse().unwrap()].clone();
    assert_eq!((of("icu").kind, of("icu").highest), (Criticality::LifeCritical, Some(Level::Pin)));
    assert_eq!((of("icu").members.len(), of("icu").names.len()), (3, 1));
    assert_eq!((of("server").kind, of("server").highest), (Criticality::Server, Some(Level::Throttle)));
    assert_eq!((of("printers").kind, of("printers").highest), (Criticality::Other, None));
    assert_eq!((of("printers").approve, of("icu").approve), (Asks::From(Level::Throttle), Asks::AsElsewhere));
    for (text, want) in [
        ("[classes.a]", "classes.\"a\": has no members"),
        ("[classes]\na = 1", "classes.\"a\": must be a section"),
        ("[classes.a]\nmembers = []", "classes.\"a\": has no members"),
        (
            "[classes.a]\nmembers = [\"MRI\"]",
            "classes.a.members: \"mri\" is neither an address nor a network",
        ),
        ("[classes.a]\nmembers = [\"::/0\"]", "classes.\"a\".members[0]: ::/0 is so wide"),
        ("[classes.a]\nmembers = [\"224.0.0.1\"]", "classes.\"a\".members[0]: 224.0.0.1 is a broadcast"),
        (
            "[classes.a]\nmembers = [\"10.0.0.1\"]\nhighest = \"cut\"",
            "classes.\"a\".highest: must be \"alert\" or",
        ),
        ("[classes.a]\nmembers = [\"10.0.0.1\"]\nlevel = 1", "classes.\"a\".level: is not a known key"),
        (
            "[classes.life-critical]\nmembers = [\"10.0.0.1\"]\nhighest = \"isolate\"",
            "classes.\"life-critical\".highest: a life-critical device is pinned at most",
        ),
        (
            "[classes]\na = { members = [\"10.0.0.1\"] }\nb = { members = [\"10.0.0.1\"] }",
            "classes: \"10.0.0.1\" is in both a and b",
        ),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(want)), "{text}: {found:#?}");
    }
}

#[test]
fn channels_and_rules_arrive() {
    let text = r#"
        [segments.radiology]
        vlans = [20]
        [notify.channels.it-mail]
        kind = "mail"
        server = "[fd00::5]:2525"
        security = "tls"
        user = "sekisho"
        password_file = "/etc/sekisho/mail.password"
        from = "Sekisho <sekisho@example.jp>"
        to = ["it@example.jp", "yamada@example.jp"]
        language = "ja"
        gather = "30s"
        mails_per_hour = 4
        [notify.channels.lamp]
        kind = "lamp"
        address = "lamp.example"
        series = "la"
        high = "white flash buzzer"
        buzzer_for = "0s"
        [notify.channels.siem]
        kind = "syslog"
        address = "10.0.0.70"
        transport = "tls"
        format = "cef"
        facility = "local5"
        [[notify.rules]]
        severity = "high"
        days = ["sat", "sun"]
        hours = "18:00-08:30"
        segments = ["radiology"]
        about = ["isolation", "approval"]
        channels = ["lamp"]
        [[notify.rules]]
        channels = ["it-mail", "siem"]
    "#;
    let notify = parse(text.as_bytes()).unwrap().daemon.notify;
    let Means::Mail(mail) = &notify.channels["it-mail"].means else { panic!("{notify:?}") };
    assert_eq!((mail.server.host.as_str(), mail.server.port), ("fd00::5", 2_525));
    assert_eq!((mail.gather_ns, mail.per_hour, mail.to.len()), (30 * SECOND, 4, 2));
    assert_eq!(mail.login.as_ref().unwrap().0, "sekisho");
    assert_eq!(notify.channels["it-mail"].language, Language::Japanese);
    let Means::Lamp(lamp) = &notify.channels["lamp"].means else { panic!("{notify:?}") };
    let LampProtocol::Pns(peer, Series::La) = &lamp.protocol else { panic!("{lamp:?}") };
    assert_eq!((peer.to_string().as_str(), lamp.buzzer_for_ns), ("lamp.example:10000", 0));
    assert_eq!(lamp.looks.0.map(|look| look.to_string()), ["white flash buzzer", "yellow on", "off"]);
    let Means::Syslog(syslog) = &notify.channels["siem"].means else { panic!("{notify:?}") };
    assert_eq!((syslog.peer.port, syslog.format, syslog.local), (6_514, Format::Cef, 5));
    let [first, second] = &notify.rules[..] else { panic!("{:?}", notify.rules) };
    assert_eq!((first.severity, first.hours), (1, Some((18 * 60, 8 * 60 + 30))));
    assert_eq!(first.days, [false, false, false, false, false, true, true]);
    assert_eq!((first.segments.len(), first.kinds.len()), (1, 2));
    assert_eq!((second.severity, second.days, second.channels.len()), (2, [true; 7], 2));
}

#[test]
fn wrong_channels_and_rules_are_told() {
    let mail =
        "[notify.channels.it]\nkind = \"mail\"\nserver = \"m\"\nfrom = \"a@b.jp\"\nto = [\"a@b.jp\"]\n";
    let lamp = "[notify.channels.lamp]\nkind = \"lamp\"\naddress = \"10.0.0.5\"\n";
    let trap = "[notify.channels.nms]\nkind = \"trap\"\naddress = \"a\"\n";
    for (text, want) in [
        ("[notify.channels.it]\n".to_owned(), "has no kind"),
        ("[notify.channels.it]\nkind = \"fax\"\n".to_owned(), "must be \"mail\" or \"lamp\""),
        ("[notify.channels.it]\nkind = \"mail\"\n".to_owned(), "has no server"),
        (
            "[notify.channels.\".it\"]\nkind = \"trap\"\naddress = \"a\"\n".to_owned(),
            "begins with a full stop",
        ),
        (format!("{mail}user = \"x\"\n"), "one of user and password_file"),
        (
            format!("{mail}security = \"none\"\nuser = \"x\"\npassword_file = \"/x\"\n"),
            "would send the password where everybody can read it",
        ),
        (
            format!("{mail}password = \"secret\"\n"),
            "is not a known key | known here: kind, language, security, server",
        ),
        (format!("{mail}ca_file = \"ca.pem\"\n"), "is no whole path"),
        (mail.replace("a@b.jp\"]", "it\"]"), "\"it\" is no mail address"),
        (mail.replace("\"m\"", "\"m:x\""), "\"m:x\" is no name, address and port"),
        (format!("{lamp}high = \"pink on\"\n"), "\"pink on\" is no look | a colour (red"),
        (format!("{lamp}protocol = \"snmp\"\nseries = \"nh\"\n"), "is not a known key"),
        (format!("{lamp}language = \"ja\"\n"), "is not a known key"),
        (
            "[notify.channels.nms]\nkind = \"trap\"\naddress = \"a\"\nenterprise = 0\n".to_owned(),
            "0 is out of range | give 1 to 4294967295",
        ),
        (format!("{trap}user = \"\"\n"), "must have 1 to 32 bytes, and has 0 | name it as the receiver does"),
        (format!("{trap}user = \"x\"\n"), "has no password_file"),
        (format!("{trap}digest = \"sha256\"\n"), "is not a known key"),
        (
            format!("{trap}user = \"x\"\npassword_file = \"/x\"\ncommunity_file = \"/x\"\n"),
            "is not a known key | known here: kind, address, user, digest, password_file",
        ),
        (
            "[notify.channels.chat]\nkind = \"webhook\"\nurl = \"ftp://x/T0/secret\"\n".to_owned(),
            "is no web address | write it like",
        ),
        (
            format!("[notify]\nrules = [{{ channels = [\"it\", \"him\"] }}]\n{mail}"),
            "there is no channel \"him\" | channels: it",
        ),
        // Also if another channel has a mistake.
        (
            format!(
                "[notify]\nrules = [{{ channels = [\"it\", \"nms\", \"him\"] }}]\n{mail}[notify.channels.nms]\nkind = 1\n"
            ),
            "there is no channel \"him\" | channels: it, nms",
        ),
        (
            format!("{mail}[[notify.rules]]\nchannels = [\"it\"]\nsegments = [\"ward\"]\n"),
            "there is no segment ward | segments: there are none",
        ),
        (format!("{mail}[[notify.rules]]\nchannels = []\n"), "is empty | name a channel"),
        (format!("{mail}[[notify.rules]]\nseverity = \"high\"\n"), "has no channels"),
        (
            format!("{mail}[[notify.rules]]\nchannels = [\"it\"]\nhours = \"8-18\"\n"),
            "\"8-18\" is no time of day",
        ),
        (
            format!("{mail}[[notify.rules]]\nchannels = [\"it\"]\nhours = \"08:00-25:00\"\n"),
            "is no time of day",
        ),
        (format!("{mail}[[notify.rules]]\nchannels = [\"it\"]\ndays = [\"monday\"]\n"), "must be \"mon\" or"),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(want)), "{text}: {want}\n{found:#?}");
        assert!(!found.iter().any(|problem| problem.contains("secret\"")), "{found:#?}");
    }
}

const SHIPPED: &str = include_str!("../../../deploy/sekisho.toml");

fn is_default(config: &Config) {
    assert_eq!(format!("{:?}", config.settings), format!("{:?}", Settings::default()));
    assert_eq!(config.daemon, DaemonSettings::default());
}

#[test]
fn the_shipped_file_gives_the_defaults() {
    let config = parse(SHIPPED.as_bytes()).unwrap();
    assert_eq!(config.settings.mode, Mode::Observe);
    is_default(&config);
    is_default(&parse(b"").unwrap());
}

/// The shipped file with all its settings switched on.
fn uncommented() -> String {
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_shipped_file_calls_defaults_are_the_defaults() {
    is_default(&parse(uncommented().as_bytes()).unwrap());
}

#[test]
fn the_shipped_file_explains_every_key() {
    let document: toml::Table = uncommented().parse().unwrap();
    for key in KEYS {
        let mut place = Some(&document);
        let mut value = None;
        for part in key.path.split('.') {
            value = place.and_then(|table| table.get(part));
            place = value.and_then(toml::Value::as_table);
        }
        assert!(value.is_some(), "deploy/sekisho.toml does not explain {} ({})", key.path, key.meaning);
    }
}

#[test]
fn every_example_is_accepted() {
    for key in KEYS {
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        let own =
            ["names", "segments", "classes", "allow", "detect.off", "notify.channels"].contains(&key.path);
        let section = if own { key.path } else { section };
        let text =
            if section.is_empty() { key.example.to_owned() } else { format!("[{section}]\n{}", key.example) };
        assert_eq!(problems(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let error = load(Some(Path::new("/nonexistent/sekisho.toml"))).unwrap_err().to_string();
    assert!(error.ends_with("; name the right file with --config"), "{error}");
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn reading_settings_never_panics(key in 0..KEYS.len(), value in "[\\[\\]{}\"'0-9a-z.:/,=\\n -]{0,40}") {
        let _ = parse(format!("{} = {value}", KEYS[key].path).as_bytes());
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..SHIPPED.len(), junk in "\\PC{0,3}") {
        let mut text = uncommented();
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &junk);
        let _ = parse(text.as_bytes());
    }
}
