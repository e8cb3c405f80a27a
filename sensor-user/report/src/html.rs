//! The report as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere. It prints on A4.

use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sensor_notify::words::Phrases;
use sensor_notify::words::{ENGLISH as ENGLISH_PHRASES, JAPANESE as JAPANESE_PHRASES};

use crate::figures::{Device, Incident, Passed, Report, Traffic, Verdict};
use crate::month::at;
use crate::words::{ENGLISH, JAPANESE, Summary, Words};

/// Rows of a table of incidents or devices: a page is read by people.
const MAX_ROWS: usize = 50;
/// Bars of a chart; the rest is put together.
const MAX_BARS: usize = 10;

/// A row may be broken over pages: an incident of many lines would leave the head of its table alone on the page before.
const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, 'Noto Sans CJK JP', 'Hiragino Sans', 'Yu Gothic', sans-serif; color: #1b2733;
  max-width: 60rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 2px solid #d7dee5; }
.made { color: #5b6875; margin: .2rem 0 1.5rem; } .lead { font-size: 1.1rem; background: #eef4f8; padding: 1rem 1.2rem;
  border-left: 5px solid #1f6f8b; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem; }
.card { border: 1px solid #d7dee5; border-radius: 6px; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.2; } .card span { color: #5b6875; font-size: .85rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .5rem; vertical-align: top;
  border-bottom: 1px solid #e3e8ed; overflow-wrap: anywhere; } th { color: #5b6875; font-weight: 600; }
th { white-space: nowrap; } td.n, th.n { text-align: right; white-space: nowrap; } .t { white-space: nowrap; } .d { min-width: 8.5rem; } .s1 { color: #a61b1b; font-weight: 600; } .s2 { color: #9a5b00; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 0 2rem; }
svg text { font-size: 12px; fill: #1b2733; } svg .bar { fill: #1f6f8b; } .note { color: #5b6875; }
.f { width: 40%; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 9.5pt; } h2, h3 { break-after: avoid; }
  h2 { margin-top: 1.2rem; } .card, svg, thead, thead tr { break-inside: avoid; } .t { white-space: normal; } .d { min-width: 0; }
  .cards { grid-template-columns: repeat(4, 1fr); gap: .5rem; } .card { padding: .4rem .6rem; } .card b { font-size: 1.3rem; }
  .two { grid-template-columns: 1fr 1fr; } }
@page { size: A4; margin: 14mm; }
";

/// The language of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    fn words(self) -> (&'static Words, &'static Phrases) {
        match self {
            Self::English => (&ENGLISH, ENGLISH_PHRASES),
            Self::Japanese => (&JAPANESE, JAPANESE_PHRASES),
        }
    }
}

/// A page that is being written.
struct Page<'a> {
    report: &'a Report,
    words: &'static Words,
    phrases: &'static Phrases,
    zone: &'a TimeZone,
}

/// The page: of that box, made at that time (ns since 1970).
pub fn page(report: &Report, language: Language, who: &str, made_ns: i64, zone: &TimeZone) -> String {
    let (words, phrases) = language.words();
    let page = Page { report, words, phrases, zone };
    let (year, month) = report.month.numbers();
    let title = format!("{} {}", words.title, (words.month)(year, month));
    let markup = html! {
        (DOCTYPE)
        html lang=(words.code) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.made { "Sekisho · " (who) " · " (words.made) " " (page.date(made_ns)) " · "
                    ((words.data)(&page.date(report.range.0), &page.date(report.range.1))) }
                (page.glance())
                (page.incidents())
                (page.days())
                (page.devices())
                (page.changes())
                (page.traffic())
                (page.unseen())
            }
        }
    };
    markup.into_string()
}

impl Page<'_> {
    fn date(&self, time_ns: i64) -> String {
        at(time_ns).to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
    }

    fn glance(&self) -> Markup {
        let (report, words) = (self.report, self.words);
        let latency = report.latency_ms();
        let restricted: u64 = report.restricted.iter().sum();
        let summary = Summary {
            incidents: report.count(),
            grave: report.judged(Verdict::Grave),
            wrong: report.judged(Verdict::False),
            open: report.judged(Verdict::Open),
            restricted,
            would: report.would,
            isolations: report.isolations,
            median: latency.map(|(median, _)| (words.length)(median)),
            devices: report.count_new().map(|new| (new, report.unapproved().count())),
        };
        let judged = [Verdict::True, Verdict::Grave, Verdict::False, Verdict::Open];
        let judged = judged.map(|verdict| format!("{} {}", words.verdict(verdict), report.judged(verdict)));
        let precision = match report.precision() {
            (_, 0) => words.none_judged.to_owned(),
            (right, all) => (words.of_judged)(right, all),
        };
        html! {
            p.lead { ((words.summary)(&summary)) }
            h2 { (words.glance) }
            div.cards {
                (card(words.incidents, &report.count().to_string(), &judged.join(" · ")))
                (card(words.precision, &percent_of(report.precision()), &precision))
                @match latency {
                    Some((median, worst)) => {
                        (card(words.median, &(words.length)(median), &format!("{} {}", words.worst, (words.length)(worst))))
                    }
                    None => { (card(words.median, "–", "")) }
                }
                (card(words.restricted, &restricted.to_string(), &format!("{} {} · {} {} · {} {} · {} {}", words.isolations,
                    report.isolations, words.manual, report.manual, words.released, report.released, words.expired, report.expired)))
                @if report.would > 0 { (card(words.would, &report.would.to_string(), "")) }
                @if let Some((new, unapproved)) = summary.devices {
                    (card(words.new_devices, &new.to_string(), ""))
                    (card(words.unapproved, &unapproved.to_string(), ""))
                }
                (card(words.seen, &percent(report.seen()), &(words.recorded)(&(words.length)(report.recorded_ms()))))
                @if report.drills.0 > 0 { (card(words.drills, &report.drills.0.to_string(), &(words.drilled)(report.drills.1))) }
            }
        }
    }

    fn incidents(&self) -> Markup {
        let (report, words) = (self.report, self.words);
        // The grave first, then those that are left to judge, and what was nothing last.
        let mut shown: Vec<&Incident> = report.incidents.iter().collect();
        let order = |verdict| match verdict {
            Verdict::Grave => 0,
            Verdict::Open => 1,
            Verdict::True => 2,
            Verdict::False => 3,
        };
        shown.sort_by_key(|incident| (order(incident.verdict), incident.severity, incident.time_ns));
        let more = (shown.len().saturating_sub(MAX_ROWS)) as u64 + report.more_incidents;
        html! {
            h2 { (words.incidents) }
            @if shown.is_empty() { p { (words.nothing) } } @else {
                table {
                    thead { tr { th.n { (words.number) } th { (words.time) } th { (words.device) } th { (words.severity) }
                        th { (words.found) } th { (words.done) } th { (words.judged) } } }
                    @for incident in shown.iter().take(MAX_ROWS) { (self.incident(incident)) }
                }
                @if more > 0 { p.note { ((words.more)(more)) } }
                p.note { (words.judged_until) }
            }
        }
    }

    fn incident(&self, incident: &Incident) -> Markup {
        html! {
            tr {
                td.n { (incident.id) }
                td.t { (self.date(incident.time_ns)) }
                td.d { (incident.device) }
                td class=(format!("s{}", incident.severity.clamp(1, 3))) { (self.phrases.severity(incident.severity)) }
                td.f { @for what in self.found(incident) { div { (what) } } }
                td { (self.phrases.action(incident.outcome.action())) @if let Some(ms) = incident.latency_ms { " (" ((self.words.length)(ms)) ")" } }
                td { (self.words.verdict(incident.verdict)) }
            }
        }
    }

    /// What was found, a line for each detector: what one saw in several ways is named once, with how many.
    fn found(&self, incident: &Incident) -> Vec<String> {
        let mut by_detector: Vec<(&str, Vec<&str>)> = Vec::new();
        for (detector, signature) in &incident.found {
            match by_detector.iter_mut().find(|(before, _)| before == detector) {
                Some((_, signatures)) => signatures.push(signature),
                None => by_detector.push((detector, vec![signature])),
            }
        }
        let line = |(detector, signatures): (&str, Vec<&str>)| match &signatures[..] {
            [signature] => self.phrases.signature(detector, signature),
            several => {
                format!("{}: {}", self.phrases.detector(detector), (self.words.ways)(several.len()))
            }
        };
        by_detector.into_iter().map(line).collect()
    }

    fn days(&self) -> Markup {
        let counts = &self.report.restricted;
        if counts.iter().all(|count| *count == 0) {
            return html! {};
        }
        html! { h2 { (self.words.by_day) } (columns(counts)) }
    }

    fn devices(&self) -> Markup {
        let (report, words) = (self.report, self.words);
        if report.devices.is_none() {
            return html! { h2 { (words.devices) } p { (words.no_devices) } };
        }
        let heard = report.known().filter(|device| device.last_seen_ns.is_some()).count();
        let (new, unapproved): (Vec<_>, Vec<_>) =
            (report.new_devices().collect(), report.unapproved().collect());
        let forgotten: Vec<&Device> = report.forgotten.iter().collect();
        let weak: Vec<&Device> = report.known().filter(|device| !device.weak.is_empty()).collect();
        html! {
            h2 { (words.devices) " (" (heard) ")" }
            p.note { (words.as_of) }
            div.two {
                div { h3 { (words.by_kind) } (bars(&self.named(report.count_by(|device| device.kind.as_deref()), words.kind))) }
                div { h3 { (words.by_maker) } (bars(&self.named(report.count_by(|device| device.maker.as_deref()), str::to_owned))) }
            }
            h2 { (words.new_devices) } (self.device_table(&new, false))
            @if !forgotten.is_empty() { h3 { (words.forgotten) } (self.device_table(&forgotten, false)) }
            @if report.more_forgotten > 0 { p.note { ((words.more)(report.more_forgotten)) } }
            h2 { (words.unapproved) } (self.device_table(&unapproved, false))
            h2 { (words.weak) }
            @match &report.traffic {
                None => { p { (words.no_traffic) } }
                Some(passed) => {
                    p { (words.weak_explained) } (self.device_table(&weak, true)) (self.lacks(passed))
                }
            }
        }
    }

    fn named(&self, counts: Vec<(Option<&str>, u64)>, told: fn(&str) -> String) -> Vec<(String, u64)> {
        let (known, unknown): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(of, _)| of.is_some());
        let sum = |counts: &[(Option<&str>, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
        let (shown, rest) = known.split_at(known.len().min(MAX_BARS));
        let named = shown.iter().filter_map(|(of, count)| Some((told((*of)?), *count)));
        let others = [(self.words.others, sum(rest)), (self.words.unknown, sum(&unknown))];
        let others = others.iter().filter(|(_, count)| *count > 0);
        named.chain(others.map(|(name, count)| ((*name).to_owned(), *count))).collect()
    }

    fn device_table(&self, devices: &[&Device], services: bool) -> Markup {
        let words = self.words;
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        let more = devices.len().saturating_sub(MAX_ROWS) as u64;
        html! {
            @if devices.is_empty() { p { (words.nothing) } } @else {
                table {
                    thead { tr { th.n { (words.number) } th { (words.device) } th { (words.maker) } th { (words.place) }
                        th { @if services { (words.services) } @else { (words.first_seen) } } } }
                    @for device in devices.iter().take(MAX_ROWS) {
                        tr { td.n { (device.id) } td { (device.name) } td { (or(&device.maker)) } td { (self.place(device)) }
                            td { @if services { (device.weak.join(", ")) } @else {
                                (device.first_seen_ns.map_or_else(|| "–".to_owned(), |at| self.date(at))) } } }
                    }
                }
                @if more > 0 { p.note { ((words.more)(more)) } }
            }
        }
    }

    /// Where a device is: as people say, or else the port it is at.
    fn place(&self, device: &Device) -> String {
        let port = || device.port.as_deref().map(self.words.port);
        device.place.clone().or_else(port).unwrap_or_else(|| "–".to_owned())
    }

    fn changes(&self) -> Markup {
        let changes = &self.report.changes;
        html! {
            @if !changes.is_empty() {
                h2 { (self.words.changes) }
                ul { @for (what, count) in changes { li { ((self.words.change)(what)) ": " (count) } } }
            }
        }
    }

    fn traffic(&self) -> Markup {
        let words = self.words;
        let name = |traffic: &Traffic| traffic.segment.clone().unwrap_or_else(|| words.no_segment.to_owned());
        html! {
            h2 { (words.traffic) }
            @match &self.report.traffic {
                None => { p { (words.no_traffic) } }
                Some(passed) => {
                    table {
                        thead { tr { th { (words.segment) } th.n { (words.conversations) } th.n { (words.volume) }
                            th.n { (words.dropped) } } }
                        @for traffic in &passed.segments {
                            tr { td { (name(traffic)) } td.n { (grouped(traffic.conversations)) } td.n { (volume(traffic.bytes)) }
                                td.n { (grouped(traffic.dropped)) } }
                        }
                    }
                    (self.lacks(passed))
                }
            }
        }
    }

    /// What of the month is not in the log of conversations.
    fn lacks(&self, passed: &Passed) -> Markup {
        let (words, all) = (self.words, self.report.hours());
        html! {
            @if passed.hours < all { p.note { ((words.hours_logged)(passed.hours, all)) } }
            @if passed.unread > 0 { p.note { ((words.unread)(passed.unread)) } }
        }
    }

    fn unseen(&self) -> Markup {
        let (report, words) = (self.report, self.words);
        let (times, seconds) = (report.blind_times, report.blind_secs);
        html! {
            h2 { (words.unseen) }
            p { ((words.unseen_explained)(times, &(words.length)(seconds * 1e3), report.frames_lost, report.records_lost)) }
            @if report.down_secs > 0.0 { p { ((words.down)(&(words.length)(report.down_secs * 1e3))) } }
            @if report.bypass_secs > 0.0 || report.bypasses > 0 {
                p { ((words.bypasses)(report.bypasses, &(words.length)(report.bypass_secs * 1e3))) }
            }
            p.note { (words.never_seen) }
        }
    }
}

fn card(title: &str, figure: &str, more: &str) -> Markup {
    html! { div.card { span { (title) } b { (figure) } span { (more) } } }
}

/// Bars with a name before and a count behind each.
fn bars(counts: &[(String, u64)]) -> Markup {
    const ROW: usize = 22;
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    html! {
        svg viewBox=(format!("0 0 400 {}", counts.len().max(1) * ROW)) width="100%" role="img" {
            @for (row, (name, count)) in counts.iter().enumerate() {
                @let width = 190.0 * *count as f64 / most as f64;
                text x="150" y=(row * ROW + 15) text-anchor="end" { (cut(name, 20)) }
                rect.bar x="158" y=(row * ROW + 3) width=(format!("{width:.1}")) height="15" rx="2" {}
                text x=(format!("{:.1}", 164.0 + width)) y=(row * ROW + 15) { (count) }
            }
        }
    }
}

/// A column for each day.
fn columns(counts: &[u64]) -> Markup {
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let step = 900.0 / counts.len().max(1) as f64;
    html! {
        svg viewBox="0 0 900 120" width="100%" role="img" {
            @for (day, count) in counts.iter().enumerate() {
                @let (x, height) = (day as f64 * step, 80.0 * *count as f64 / most as f64);
                rect.bar x=(format!("{:.1}", x + 3.0)) y=(format!("{:.1}", 96.0 - height)) width=(format!("{:.1}", step - 6.0))
                    height=(format!("{height:.1}")) {}
                text x=(format!("{:.1}", x + step / 2.0)) y="114" text-anchor="middle" { (day + 1) }
                @if *count > 0 {
                    text x=(format!("{:.1}", x + step / 2.0)) y=(format!("{:.1}", 91.0 - height)) text-anchor="middle" { (count) }
                }
            }
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most - 1).chain(['…']).collect()
    }
}

fn percent_of((right, all): (usize, usize)) -> String {
    if all == 0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * right as f64 / all as f64) }
}

/// Never rounded up to all.
fn percent(part: f64) -> String {
    let percent = (part * 100_000.0).floor() / 1_000.0;
    if part >= 1.0 { "100 %".to_owned() } else { format!("{percent:.3} %") }
}

fn volume(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1_000.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1_000.0, unit + 1);
    }
    let unit_name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {unit_name}") }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
