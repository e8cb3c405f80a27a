//! The words of the report, in Japanese and in English.

use sensor_notify::words::{ENGLISH, JAPANESE, Phrases};
use serde_json::Value;

/// A language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tongue {
    /// Japanese.
    Ja,
    /// English.
    En,
}

impl Tongue {
    /// One of two texts.
    pub fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Ja => ja,
            Self::En => en,
        }
    }

    /// Its code.
    pub fn code(self) -> &'static str {
        self.pick("ja", "en")
    }

    /// The words that notices use too.
    pub fn phrases(self) -> &'static Phrases {
        match self {
            Self::Ja => JAPANESE,
            Self::En => ENGLISH,
        }
    }

    /// What a person said it was.
    pub fn verdict(self, right: bool, grave: bool) -> &'static str {
        match (right, grave) {
            (false, _) => self.pick("誤検知", "false"),
            (true, false) => self.pick("正しい検知", "true"),
            (true, true) => self.pick("正しい検知 (重大と判定)", "true and grave"),
        }
    }

    /// A kind of event.
    pub fn kind(self, kind: &str) -> &str {
        let known = match kind {
            "device" => "新しい機器",
            "alert" => "検知",
            "isolation" => "隔離",
            "bypass" => "バイパス",
            "order" => "操作",
            "approval" => "承認",
            "judgement" => "判定",
            "window" => "作業時間枠",
            "inventory" => "機器台帳",
            "blind" => "監視の欠落",
            "daemon" => "監視装置",
            "journal" => "記録",
            other => other,
        };
        self.pick(known, kind)
    }

    /// A family of evidence: most are called like a detector.
    pub fn family(self, family: &str) -> &str {
        match (self, family) {
            (Self::Ja, "model") => "学習モデル",
            (Self::Ja, family) => JAPANESE.detector(family),
            (Self::En, family) => family,
        }
    }

    /// An event in a few words; `words` are the English ones it was told with.
    pub fn event(self, event: &Value, words: &str) -> String {
        let english = || {
            let rest = words.split_once(' ').map_or(words, |(_, rest)| rest);
            rest.trim().to_owned()
        };
        match self {
            Self::En => english(),
            Self::Ja => japanese(event).unwrap_or_else(english),
        }
    }
}

/// An event in Japanese; none if there are no words for it.
fn japanese(event: &Value) -> Option<String> {
    let ja = Tongue::Ja;
    Some(match event["event_type"].as_str()? {
        "device" => format!("機器 {} を初めて確認", text(&event["device"]["mac"])),
        "alert" => {
            let alert = &event["alert"];
            let detector = alert["metadata"]["detector"][0].as_str()?;
            let found = JAPANESE.signature(detector, alert["signature"].as_str()?);
            format!("{found}。対応：{}", JAPANESE.action(alert["metadata"]["decision"][0].as_str()?))
        }
        "isolation" => isolation(&event["isolation"])?,
        "order" => {
            let order = &event["order"];
            let outcome = if order["outcome"] == "done" { "実行" } else { "拒否" };
            format!("{} の操作 {} {}：{outcome}", text(&order["by"]), text(&order["request"]), order["with"])
        }
        "judgement" => {
            let said = &event["judgement"];
            let verdict = match said["verdict"].as_str()? {
                "false" => ja.verdict(false, false),
                "right" => ja.verdict(true, false),
                "grave" => ja.verdict(true, true),
                _ => "検知の見直しを終了",
            };
            format!("{} の判定：{verdict} {}", text(&said["by"]), text(&said["comment"]))
        }
        "approval" => approval(&event["approval"])?,
        "inventory" => {
            let change = match event["inventory"]["action"].as_str()? {
                "described" => "登録内容を変更",
                "merged" => "アドレスを統合",
                "split" => "アドレスを分離",
                "renumbered" => "重複した番号を変更",
                _ => "登録を削除",
            };
            format!("機器 {} の{change}({})", text(&event["device"]["mac"]), text(&event["inventory"]["by"]))
        }
        "bypass" => {
            let state = if event["bypass"]["action"] == "on" {
                "開始：遮断をすべて停止"
            } else {
                "終了"
            };
            format!("バイパス{state}({})", text(&event["bypass"]["by"]))
        }
        "blind" => {
            let state = if event["blind"]["state"] == "begin" { "開始" } else { "終了" };
            format!("監視の欠落：{state}(失われたフレーム {})", event["blind"]["frames_lost"])
        }
        "daemon" => {
            let model = &event["daemon"]["model"];
            match event["daemon"]["action"].as_str()? {
                "start" => "Sekisho を開始".to_owned(),
                "stop" => "Sekisho を停止".to_owned(),
                "model" => format!(
                    "判定に使うモデルを変更（{}、{}）",
                    text(&model["class"]),
                    text(&model["subject"])
                ),
                _ => return None,
            }
        }
        "journal" => journal(&event["journal"])?,
        "window" => window(&event["window"])?,
        _ => return None,
    })
}

/// What the journal says of itself.
fn journal(journal: &Value) -> Option<String> {
    Some(match journal["action"].as_str()? {
        "begun" if journal["before"].is_null() => "記録を開始".to_owned(),
        "begun" => format!("新しい記録を開始（以前の記録の末尾：{}）", text(&journal["before"])),
        "missing" => {
            format!("記録の欠落：末尾は記録 {}、以前は記録 {} まで存在", journal["found"], journal["link"])
        }
        "killed" => "前回の Sekisho は正常に終了せず：最後の 1 秒の記録が欠けている可能性あり".to_owned(),
        "set_aside" => format!("破損した記録を {} として保管し、新しい記録を開始", text(&journal["file"])),
        "new_key" => format!(
            "以前の署名鍵が失われたため、新しい鍵 {} を作成（以前の署名は {} で検証）",
            text(&journal["key"]),
            text(&journal["before"])
        ),
        "pruned" => format!("保存期間を過ぎた {} 件の記録を削除", journal["records"]),
        "lost" => format!("{} 件の事象を記録できず：ディスクが遅い、または満杯", journal["events"]),
        _ => return None,
    })
}

fn window(window: &Value) -> Option<String> {
    let step = match window["action"].as_str()? {
        "announced" => "予告",
        "opened" => "開始：自動の制限を停止",
        "ended" => "期限により終了",
        _ => "担当者が終了",
    };
    Some(format!("作業時間枠 {}：{step} {}", window["id"], text(&window["by"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn isolation(isolation: &Value) -> Option<String> {
    let would = if isolation["would"] == true { "(観察モード:実施せず)" } else { "" };
    let level = match isolation["level"].as_str()? {
        "isolate" => "隔離",
        "throttle" => "通信量の制限",
        "pin" => "普段の通信先への制限",
        "quarantine" => "検疫",
        "cut" => "全遮断",
        "external-only" => "外部通信の遮断",
        _ => "監視",
    };
    let change = match isolation["action"].as_str()? {
        "added" => "開始",
        "extended" => "延長",
        "changed" => "変更",
        "followed" => "新しいアドレスへ適用",
        "narrowed" => "対象アドレスを縮小",
        "released" => "担当者が解除",
        _ => "期限により終了",
    };
    Some(format!("{level}：{change}{would} [{}]", isolation["id"]))
}

fn approval(approval: &Value) -> Option<String> {
    let step = match approval["action"].as_str()? {
        "asked" => "承認を依頼",
        "approved" => "承認",
        "denied" => "却下",
        "lapsed" => "期限切れ(実施せず)",
        "lapsed_acts" => "期限切れ(実施)",
        _ => "取り消し",
    };
    Some(format!("{step} {}", text(&approval["by"])))
}
