//! The report of a pack: one page that needs nothing else, in Japanese and in English, to be read in a browser or printed.

use std::fmt::Write;

use jiff::tz::TimeZone;
use sensor_journal::{PublicKey, hex};
use serde_json::Value;

use super::words::Tongue;
use super::{Conversations, Gathered, Maker};
use crate::clock::Stamp;
use crate::label;

/// Rows of the timeline in the report, at most: all are in events.jsonl.
const MAX_ROWS: usize = 1_000;

const STYLE: &str = "
body { font: 15px/1.55 'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', Meiryo, sans-serif; color: #1c2733; max-width: 62em; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.6em; border-bottom: 3px solid #14506e; padding-bottom: .3em } h2 { font-size: 1.15em; color: #14506e; margin-top: 1.8em }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .35em .7em; border-bottom: 1px solid #d5dde3 }
th { width: 13em; font-weight: 600; color: #44576a } thead th { width: auto; border-bottom: 2px solid #9fb2c0 } td { overflow-wrap: anywhere }
.time { white-space: nowrap; font-variant-numeric: tabular-nums } .hash { font: 12px/1.4 monospace } .bad { color: #a40e26; font-weight: 600 }
.grave1 { background: #a40e26; color: #fff; padding: .1em .6em; border-radius: .3em } .grave2 { background: #d98200; color: #fff; padding: .1em .6em; border-radius: .3em }
.grave3 { background: #5b7083; color: #fff; padding: .1em .6em; border-radius: .3em } nav { font-size: .9em } section { break-before: page } section:first-of-type { break-before: auto }
";

/// The page.
pub fn html(gathered: &Gathered, maker: &Maker, key: &PublicKey, zone: &TimeZone) -> String {
    let id = gathered.incident.id;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"ja\"><head><meta charset=\"utf-8\"><title>Sekisho: incident {id}</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <style>{STYLE}</style></head><body>\n<nav><a href=\"#ja\">日本語</a> | <a href=\"#en\">English</a></nav>\n"
    );
    for tongue in [Tongue::Ja, Tongue::En] {
        let section = Section { tongue, gathered, maker, key, zone };
        page.push_str(&section.html());
    }
    page.push_str("</body></html>\n");
    page
}

struct Section<'a> {
    tongue: Tongue,
    gathered: &'a Gathered,
    maker: &'a Maker,
    key: &'a PublicKey,
    zone: &'a TimeZone,
}

impl Section<'_> {
    fn html(&self) -> String {
        let code = self.tongue.code();
        let title = self.say("インシデント報告書", "Incident report");
        let mut text = format!(
            "<section id=\"{code}\" lang=\"{code}\">\n<h1>{title} #{}</h1>\n",
            self.gathered.incident.id
        );
        self.summary(&mut text);
        self.findings(&mut text);
        self.timeline(&mut text);
        self.origin(&mut text);
        text.push_str("</section>\n");
        text
    }

    fn say<'a>(&self, ja: &'a str, en: &'a str) -> &'a str {
        self.tongue.pick(ja, en)
    }

    /// A moment in the zone of the machine, with how far that is from UTC.
    fn time(&self, stamp: Stamp) -> String {
        format!("<span class=\"time\">{}</span>", plain(&stamp.local(self.zone)))
    }

    fn summary(&self, text: &mut String) {
        let (incident, device) = (&self.gathered.incident, &self.gathered.incident.device);
        heading(text, self.say("概要", "Summary"));
        let name = label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac);
        let none = self.say("なし", "none");
        let mut rows = vec![
            (self.say("機器", "Device"), plain(&name)),
            (self.say("MACアドレス", "MAC address"), plain(&device.mac)),
            (self.say("IPアドレス", "IP addresses"), plain(&device.ips.join(", "))),
            (self.say("メーカー", "Maker"), plain(device.maker.as_deref().unwrap_or("-"))),
            (self.say("分類", "Class"), plain(device.class.as_deref().unwrap_or("-"))),
            (self.say("重大度", "Severity"), self.grave(incident.severity)),
            (self.say("最初の検知", "First found"), self.time(incident.opened)),
            (self.say("最後の検知", "Last found"), self.time(incident.updated)),
            (self.say("対応", "What was done"), plain(self.tongue.phrases().action(&incident.action))),
        ];
        let judged = incident.judged.as_ref().map(|judged| {
            let verdict = self.tongue.verdict(judged.right, judged.grave);
            plain(&format!("{verdict} ({}) {}", judged.by, judged.comment))
        });
        rows.push((
            self.say("担当者の判定", "Judged by a person"),
            judged.unwrap_or_else(|| none.to_owned()),
        ));
        let seen = incident.coverage.as_ref().and_then(|coverage| coverage["bridge"].as_f64());
        let seen = seen.map_or_else(|| "-".to_owned(), label::percent);
        rows.push((self.say("監視できた通信の割合", "Share of traffic that was seen"), plain(&seen)));
        table(text, &rows);
        let (at, zone) = (incident.opened, self.zone);
        let _ = writeln!(
            text,
            "<p>{} {}</p>",
            self.say("タイムゾーン：UTC", "Times are of the zone UTC"),
            plain(&at.offset(zone))
        );
    }

    fn grave(&self, severity: u8) -> String {
        format!(
            "<span class=\"grave{}\">{}</span>",
            severity.clamp(1, 3),
            self.tongue.phrases().severity(severity)
        )
    }

    fn findings(&self, text: &mut String) {
        heading(text, self.say("検知内容と根拠の数値", "What was found, with its numbers"));
        let phrases = self.tongue.phrases();
        for finding in &self.gathered.incident.findings {
            let _ = writeln!(
                text,
                "<p>{} {} <b>{}</b></p>",
                self.time(finding.time),
                self.grave(finding.severity),
                plain(&phrases.signature(&finding.detector, &finding.signature))
            );
            let numbers = finding.evidence.iter();
            let rows: Vec<_> = numbers
                .map(|(name, value)| (phrases.number(name), plain(&phrases.value(&number(value)))))
                .collect();
            let technique = finding.technique.as_deref().map(|technique| ("MITRE ATT&CK", plain(technique)));
            let rows = rows.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let rows: Vec<_> = technique.into_iter().chain(rows).collect();
            table(text, &rows);
        }
        let Some(evidence) = &self.gathered.incident.evidence else { return };
        let families = evidence["families"].as_object().into_iter().flatten();
        let families: Vec<_> =
            families.map(|(name, nats)| format!("{} {}", self.tongue.family(name), number(nats))).collect();
        let _ = writeln!(
            text,
            "<p>{}: {} nats ({})</p>",
            self.say("証拠の合計", "Evidence in sum"),
            plain(&number(&evidence["nats"])),
            plain(&families.join(", "))
        );
    }

    fn timeline(&self, text: &mut String) {
        heading(text, self.say("経過", "Timeline"));
        let columns = [
            self.say("時刻", "Time"),
            self.say("記録番号", "Record"),
            self.say("種類", "Kind"),
            self.say("内容", "What"),
        ];
        let _ = write!(text, "<table><thead><tr>");
        columns.iter().for_each(|column| text.push_str(&format!("<th>{column}</th>")));
        text.push_str("</tr></thead><tbody>\n");
        let records = &self.gathered.records;
        for record in records.iter().take(MAX_ROWS) {
            let event: Value = serde_json::from_str(&record.entry.body).unwrap_or_default();
            let _ = writeln!(
                text,
                "<tr><td>{}</td><td>{}</td><td class=\"time\">{}</td><td>{}</td></tr>",
                self.time(Stamp(record.entry.time_ns)),
                record.link.map_or_else(|| "-".to_owned(), |link| link.number.to_string()),
                plain(self.tongue.kind(&record.entry.kind)),
                plain(&self.tongue.event(&event, &record.entry.words)),
            );
        }
        text.push_str("</tbody></table>\n");
        if records.len() > MAX_ROWS {
            let more = self.say("ほかの記録は events.jsonl にあります。", "The others are in events.jsonl.");
            let _ = writeln!(text, "<p>{more} ({})</p>", records.len());
        }
    }

    /// Where it comes from, and how to see that it is so.
    fn origin(&self, text: &mut String) {
        heading(text, self.say("記録の確かさ", "Whether it stands"));
        let Gathered { daemon, chain, models, flows, .. } = self.gathered;
        let whole = if chain["whole"] == true {
            self.say("改ざんなし", "whole: none changed, none missing").to_owned()
        } else {
            let faults = chain["faults"].as_array().into_iter().flatten().filter_map(Value::as_str);
            format!(
                "<span class=\"bad\">{}: {}</span>",
                self.say("不整合あり", "DOES NOT FIT"),
                plain(&faults.collect::<Vec<_>>().join("; "))
            )
        };
        let head = &chain["head"];
        let head = format!("{}:{}", head["record"], head["hash"].as_str().unwrap_or_default());
        let hash = |text: &str| format!("<span class=\"hash\">{}</span>", plain(text));
        let models = models.iter().map(|(name, digits)| hash(&format!("{name} {digits}")));
        let flows = match flows {
            Ok(Conversations { rows, left_out, unread, .. }) => {
                let mut counts = vec![rows.to_string()];
                let lacks = [
                    (left_out, self.say("省略", "left out")),
                    (unread, self.say("読めないファイル", "unreadable files")),
                ];
                counts.extend(lacks.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{what}: {n}")));
                format!("flows.csv ({})", counts.join("; "))
            }
            Err(why) => format!("{}: {why}", self.say("含まれていない", "not included")),
        };
        let text_of = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let rows = [
            (self.say("監査記録", "The journal"), whole),
            (self.say("記録の末尾", "Its head"), hash(&head)),
            (
                self.say("監視装置", "The sensor then"),
                plain(&format!("Sekisho {} ({})", text_of(&daemon["version"]), text_of(&daemon["mode"]))),
            ),
            (
                self.say("設定のハッシュ", "Hash of its configuration"),
                hash(&text_of(&daemon["config_sha256"])),
            ),
            (
                self.say("モデルのハッシュ", "Hashes of models kept now"),
                models.collect::<Vec<_>>().join("<br>"),
            ),
            (self.say("通信記録", "Flows of the device"), plain(&flows)),
            (
                self.say("作成", "Made"),
                format!(
                    "{} {}",
                    self.time(self.maker.made),
                    plain(&format!("{}, {}", self.maker.by, self.maker.host))
                ),
            ),
            (self.say("署名の公開鍵", "Public key of the signature"), hash(&hex(&self.key.0))),
        ];
        table(text, &rows);
        let how = self.say(
            "検証方法：どのコンピューターでも、次のコマンドで改ざんの有無を確認できます。",
            "To verify this pack, on any machine:",
        );
        let _ = writeln!(
            text,
            "<p>{how}<br><span class=\"hash\">sekisho audit verify-pack FILE --key {}</span></p>",
            self.key
        );
    }
}

fn heading(text: &mut String, title: &str) {
    text.push_str(&format!("<h2>{title}</h2>\n"));
}

/// A table of names and values; these are HTML.
fn table(text: &mut String, rows: &[(&str, String)]) {
    text.push_str("<table><tbody>\n");
    for (name, value) in rows {
        text.push_str(&format!("<tr><th>{}</th><td>{value}</td></tr>\n", plain(name)));
    }
    text.push_str("</tbody></table>\n");
}

fn number(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(number).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_u64() && !number.is_i64() => format!("{float:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A text as HTML shows it, and does not obey it.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in label::plain(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
