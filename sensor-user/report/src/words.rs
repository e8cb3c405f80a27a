//! What the report says, in English and Japanese.

use crate::figures::Verdict;

/// The words of a language.
pub struct Words {
    /// As HTML names it.
    pub code: &'static str,
    pub title: &'static str,
    pub month: fn(i16, i8) -> String,
    pub made: &'static str,
    pub data: fn(&str, &str) -> String,
    pub length: fn(f64) -> String,
    pub glance: &'static str,
    pub incidents: &'static str,
    pub right: &'static str,
    pub grave: &'static str,
    pub wrong: &'static str,
    pub open: &'static str,
    pub precision: &'static str,
    pub of_judged: fn(usize, usize) -> String,
    pub none_judged: &'static str,
    pub median: &'static str,
    pub worst: &'static str,
    pub restricted: &'static str,
    pub isolations: &'static str,
    pub would: &'static str,
    pub manual: &'static str,
    pub released: &'static str,
    pub expired: &'static str,
    pub seen: &'static str,
    pub recorded: fn(&str) -> String,
    pub drills: &'static str,
    pub drilled: fn(u64) -> String,
    pub devices: &'static str,
    pub no_devices: &'static str,
    pub as_of: &'static str,
    pub new_devices: &'static str,
    pub forgotten: &'static str,
    pub unapproved: &'static str,
    pub by_kind: &'static str,
    pub by_maker: &'static str,
    pub unknown: &'static str,
    pub kind: fn(&str) -> String,
    pub others: &'static str,
    pub by_day: &'static str,
    pub changes: &'static str,
    pub change: fn(&str) -> &'static str,
    pub weak: &'static str,
    pub weak_explained: &'static str,
    pub traffic: &'static str,
    pub no_traffic: &'static str,
    pub hours_logged: fn(u64, u64) -> String,
    pub unread: fn(usize) -> String,
    pub segment: &'static str,
    pub no_segment: &'static str,
    pub conversations: &'static str,
    pub volume: &'static str,
    pub dropped: &'static str,
    pub unseen: &'static str,
    pub unseen_explained: fn(u64, &str, u64, u64) -> String,
    pub down: fn(&str) -> String,
    pub never_seen: &'static str,
    pub bypasses: fn(u64, &str) -> String,
    pub number: &'static str,
    pub time: &'static str,
    pub device: &'static str,
    pub severity: &'static str,
    pub found: &'static str,
    pub ways: fn(usize) -> String,
    pub done: &'static str,
    pub judged: &'static str,
    pub judged_until: &'static str,
    pub first_seen: &'static str,
    pub place: &'static str,
    pub port: fn(&str) -> String,
    pub maker: &'static str,
    pub services: &'static str,
    pub nothing: &'static str,
    pub more: fn(u64) -> String,
    pub summary: fn(&Summary) -> String,
}

/// What the first sentences are made of.
pub struct Summary {
    pub incidents: u64,
    pub grave: usize,
    pub wrong: usize,
    pub open: usize,
    pub restricted: u64,
    pub isolations: u64,
    pub would: u64,
    pub median: Option<String>,
    /// New ones, and those not approved; none if they are not known.
    pub devices: Option<(u64, usize)>,
}

impl Words {
    pub fn verdict(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Open => self.open,
            Verdict::False => self.wrong,
            Verdict::True => self.right,
            Verdict::Grave => self.grave,
        }
    }
}

pub static ENGLISH: Words = Words {
    code: "en",
    title: "Network security report",
    month: |year, month| format!("{year}-{month:02}"),
    made: "made",
    data: |from, to| format!("data from {from} to {to}"),
    length: |ms| length(ms, ["ms", "s", "min", "h"]),
    glance: "The month at a glance",
    incidents: "Incidents",
    right: "true",
    grave: "true and grave",
    wrong: "false alarm",
    open: "not judged yet",
    precision: "Of those judged, true",
    of_judged: |right, all| format!("{right} of {all}"),
    none_judged: "none was judged",
    median: "Time to cut off, median",
    worst: "worst",
    restricted: "Restricted automatically",
    isolations: "cut off",
    would: "Would have been (observe mode)",
    manual: "by hand",
    released: "released by hand",
    expired: "ended on time",
    seen: "Time in which all was seen",
    recorded: |time| format!("of the {time} recorded in this month"),
    drills: "Fire drills",
    drilled: |good| format!("{good} went well"),
    devices: "Devices",
    no_devices: "Sekisho did not tell of its devices when this was made.",
    as_of: "As they are known at the time this was made.",
    new_devices: "New devices",
    forgotten: "Of these, forgotten since",
    unapproved: "Not approved",
    by_kind: "Devices by kind",
    by_maker: "Devices by maker",
    unknown: "unknown",
    kind: |kind| kind.replace('_', " "),
    others: "others",
    by_day: "Automatic restrictions by day",
    changes: "Changes",
    change: |what| match what {
        "identity" => "a device became another kind of device by its traffic",
        "described" => "entries about devices were changed",
        "merged" => "addresses were said to be one device, by a person",
        "split" => "addresses were said to be devices of their own, by a person",
        "renumbered" => "devices had the number of another one, and have a new one",
        "grouped" => "addresses were found to be one device, by evidence",
        "dissolved" => "addresses that were taken for one device turned out not to be one",
        _ => "devices were forgotten",
    },
    weak: "Weak devices",
    weak_explained: "These offer services that send passwords in the clear, or that malware uses to spread.",
    traffic: "Traffic by segment",
    no_traffic: "There is no flow log of this month, so this is not known.",
    hours_logged: |hours, all| {
        format!("The flow log has {hours} of {all} hours; what was in the others is not known.")
    },
    unread: |files| format!("{files} of its files could not be read, and are missing."),
    segment: "Segment",
    no_segment: "in no segment",
    conversations: "Conversations",
    volume: "Volume",
    dropped: "Dropped",
    unseen: "What the box could not see",
    unseen_explained: |times, seconds, frames, records| {
        if times == 0 {
            return "There was no time in which it saw less than it should.".to_owned();
        }
        format!(
            "Times in which it saw less than it should: {times}, {seconds} in all. Lost then: {frames} frames, {records} records of \
             new connections."
        )
    },
    down: |time| {
        format!("It did not run for {time}: what was blocked stayed blocked, and nothing was found.")
    },
    never_seen: "It reads headers only, never contents, and sees only what crosses the bridge: two devices on the same switch talk \
                 unseen. That nothing was found does not prove that there was nothing.",
    bypasses: |times, time| {
        format!("Times the bypass was switched on: {times}, {time} in all. Nothing was dropped then.")
    },
    number: "No.",
    time: "Time",
    device: "Device",
    severity: "Severity",
    found: "What was found",
    ways: |count| format!("in {count} ways"),
    done: "What was done",
    judged: "Judged",
    judged_until: "What was said of an incident up to 60 days after the month counts.",
    first_seen: "First seen",
    place: "Place",
    port: |port| format!("port {port}"),
    maker: "Maker",
    services: "Services",
    nothing: "None.",
    more: |count| format!("and {count} more"),
    summary: |s| {
        let mut text = match s.incidents {
            0 => "Nothing was found that called for attention. ".to_owned(),
            1 => "There was one incident".to_owned(),
            count => format!("There were {count} incidents"),
        };
        if s.incidents > 0 {
            text.push_str(&format!(
                " (grave: {}, false alarms: {}, not judged yet: {}). ",
                s.grave, s.wrong, s.open
            ));
        }
        if s.restricted > 0 {
            text.push_str(&format!("Restrictions by Sekisho itself: {}", s.restricted));
            if let Some(median) = &s.median {
                text.push_str(&format!(
                    "; cut off: {}, typically {median} after the first evidence",
                    s.isolations
                ));
            }
            text.push_str(". ");
        } else if s.would > 0 {
            text.push_str(&format!(
                "It is in observe mode; restrictions there would have been: {}. ",
                s.would
            ));
        }
        if let Some((new, unapproved)) = s.devices {
            text.push_str(&format!("New devices: {new}; not approved: {unapproved}."));
        }
        text
    },
};

pub static JAPANESE: Words = Words {
    code: "ja",
    title: "ネットワークセキュリティ月次報告",
    month: |year, month| format!("{year}年{month}月"),
    made: "作成",
    data: |from, to| format!("対象データ {from} ～ {to}"),
    length: |ms| length(ms, ["ミリ秒", "秒", "分", "時間"]),
    glance: "当月の概要",
    incidents: "インシデント",
    right: "正しい検知",
    grave: "正しい検知 (重大と判定)",
    wrong: "誤検知",
    open: "未判定",
    precision: "判定済みのうち正しい検知",
    of_judged: |right, all| format!("{all} 件中 {right} 件"),
    none_judged: "判定されたものはありません",
    median: "隔離までの時間 (中央値)",
    worst: "最長",
    restricted: "自動で制限した回数",
    isolations: "うち隔離",
    would: "制限するはずだった回数 (観察モード)",
    manual: "手動",
    released: "手動で解除",
    expired: "期限切れで解除",
    seen: "すべて観測できた時間の割合",
    recorded: |time| format!("当月のうち記録のある {time}に対する割合"),
    drills: "訓練",
    drilled: |good| format!("うち正常に完了 {good} 回"),
    devices: "機器",
    no_devices: "作成時に Sekisho から機器の情報を得られなかったため、機器については分かりません。",
    as_of: "作成時点の登録内容です。",
    new_devices: "新しい機器",
    forgotten: "うち、その後登録がなくなったもの",
    unapproved: "未承認の機器",
    by_kind: "機器の種類",
    by_maker: "機器のメーカー",
    unknown: "不明",
    kind: japanese_kind,
    others: "その他",
    by_day: "日ごとの自動制限の回数",
    changes: "機器の変更・変化",
    change: |what| match what {
        "identity" => "通信から見て別の種類の機器に変わった",
        "described" => "機器の登録内容を変更した",
        "merged" => "担当者が複数のアドレスを 1 台の機器にまとめた",
        "split" => "担当者がアドレスを別の機器に分けた",
        "renumbered" => "他の機器と重複していた番号を付け直した",
        "grouped" => "DHCP の識別子と通信の時間帯から、複数のアドレスを 1 台の機器とみなした",
        "dissolved" => "1 台とみなしていた複数のアドレスを、別々の機器に戻した",
        _ => "機器の登録を削除した",
    },
    weak: "対策が必要な機器",
    weak_explained: "パスワードが暗号化されないサービスや、マルウェアの拡散に使われるサービスを提供している機器です。",
    traffic: "区画ごとの通信量",
    no_traffic: "この月の通信記録がないため、分かりません。",
    hours_logged: |hours, all| {
        format!("通信記録があるのは {all} 時間のうち {hours} 時間です。ほかの時間については分かりません。")
    },
    unread: |files| format!("通信記録のうち {files} 個のファイルは読めず、含まれていません。"),
    segment: "区画",
    no_segment: "区画なし",
    conversations: "通信件数",
    volume: "通信量",
    dropped: "遮断あり",
    unseen: "観測できなかったもの",
    unseen_explained: |times, seconds, frames, records| {
        if times == 0 {
            return "観測が不十分だった時間はありませんでした。".to_owned();
        }
        format!(
            "観測が不十分だったのは {times} 回、合計 {seconds}です。その間に {frames} フレームと、新しい通信の記録 {records} \
             件を失いました。"
        )
    },
    down: |time| {
        format!("Sekisho は合計 {time}停止していました。遮断は続いていましたが、検知はしていません。")
    },
    never_seen: "Sekisho は通信の見出し (ヘッダー) だけを読み、内容は読みません。また、ブリッジを通る通信だけを観測します。\
                 同じスイッチにつながる機器どうしの通信は見えません。検知がなかったことは、異常がなかったことの証明ではありません。",
    bypasses: |times, time| {
        format!("バイパスが {times} 回、合計 {time}使われました。その間は何も遮断していません。")
    },
    number: "番号",
    time: "日時",
    device: "機器",
    severity: "重大度",
    found: "検知内容",
    ways: |count| format!("{count} 通り"),
    done: "対応",
    judged: "判定",
    judged_until: "当月のインシデントについて、月末から 60 日以内の判定を含みます。",
    first_seen: "初めて観測した日時",
    place: "場所",
    port: |port| format!("ポート {port}"),
    maker: "メーカー",
    services: "サービス",
    nothing: "ありません。",
    more: |count| format!("ほか {count} 件"),
    summary: |s| {
        let mut text = match s.incidents {
            0 => "注意を要する検知はありませんでした。".to_owned(),
            count => format!(
                "インシデントは {count} 件でした (重大と判定 {} 件、誤検知 {} 件、未判定 {} 件)。",
                s.grave, s.wrong, s.open
            ),
        };
        if s.restricted > 0 {
            text.push_str(&format!("Sekisho は自動で {} 回、機器の通信を制限しました", s.restricted));
            if let Some(median) = &s.median {
                text.push_str(&format!(" (うち隔離 {} 回、最初の兆候からおよそ {median})", s.isolations));
            }
            text.push('。');
        } else if s.would > 0 {
            text.push_str(&format!(
                "観察モードのため、制限するはずだった {} 回は記録のみ行いました。",
                s.would
            ));
        }
        if let Some((new, unapproved)) = s.devices {
            text.push_str(&format!("新しい機器は {new} 台、未承認の機器は {unapproved} 台です。"));
        }
        text
    },
};

/// Milliseconds as people say it; the names of milliseconds, seconds, minutes and hours.
fn length(ms: f64, [milliseconds, seconds, minutes, hours]: [&str; 4]) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} {milliseconds}"),
        ms if ms < 1_000.0 => format!("{ms:.0} {milliseconds}"),
        ms if ms < 120_000.0 => format!("{:.1} {seconds}", ms / 1_000.0),
        ms if ms < 7_200_000.0 => format!("{:.0} {minutes}", ms / 60_000.0),
        ms => format!("{:.1} {hours}", ms / 3_600_000.0),
    }
}

/// A kind of device, by the name the sensor gives it; one of a later release as it is named.
fn japanese_kind(kind: &str) -> String {
    let known = match kind {
        "modality" => "撮影装置 (モダリティ)",
        "pacs" => "PACS",
        "hl7" => "HL7 連携",
        "infusion_pump" => "輸液ポンプ",
        "patient_monitor" => "患者モニター",
        "printer" => "プリンター",
        "phone" => "電話",
        "camera" => "カメラ",
        "plc" => "PLC (制御装置)",
        "building_automation" => "ビル設備",
        "nas" => "NAS",
        "domain_controller" => "ドメインコントローラー",
        "hypervisor" => "仮想化基盤",
        "server" => "サーバー",
        "pc" => "PC",
        "mobile" => "携帯端末",
        "router" => "ルーター",
        "switch" => "スイッチ",
        "access_point" => "無線アクセスポイント",
        "smart_device" => "スマート機器",
        "media" => "映像・音響機器",
        other => other,
    };
    known.to_owned()
}
