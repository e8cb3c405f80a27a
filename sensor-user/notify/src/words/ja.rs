//! Japanese.

use super::{Grade, Labels, Phrases, ja_terms};
use crate::error::Trouble;
use crate::notice::{Entry, Impact, Lost, Step};
use crate::place::Place;

pub static PHRASES: Phrases = Phrases {
    labels: Labels {
        device: "機器",
        addresses: "アドレス",
        maker: "メーカー",
        class: "分類",
        place: "場所",
        what: "検知内容",
        sure: "確からしさ",
        done: "対応",
        until: "期限",
        lost: "影響",
        reason: "理由",
        undo: "コマンド",
        time: "日時",
        incident: "インシデント番号",
    },
    severity,
    place,
    signature,
    number,
    value: ja_terms::value,
    detector: |name| ja_terms::detector(name).unwrap_or(name),
    sure: |nats, severity| {
        let grade = match Grade::of(nats) {
            Grade::Hint => "手がかりの段階です (4 段階中の 1)",
            Grade::Likely => "異常の可能性があります (4 段階中の 2)",
            Grade::VeryLikely => "異常の可能性が高い (4 段階中の 3)",
            Grade::NextToCertain => "異常はほぼ確実です (4 段階中の最高。13.8 nat 以上はすべて同じ段階です)",
        };
        format!(
            "重大度「{severity}」。根拠の合計は {nats:.1} nat: {grade}。根拠の重みの多くは測定値ではなく想定値のため、確率ではなく目安です"
        )
    },
    why: ja_terms::reason,
    action,
    held,
    entry,
    impact,
    lost_service,
    for_good: "解除するまで",
    approval,
    otherwise: |until, acts| {
        format!("{until} まで。返答がなければ{}", if acts { "実行します" } else { "何もしません" })
    },
    judgement: |who, id, right, by| match right {
        Some(true) => format!("{who}: インシデント {id} は正しい検知と判定されました ({by})"),
        Some(false) => format!("{who}: インシデント {id} は誤検知と判定されました ({by})"),
        None => format!("{who}: インシデント {id} による検知器の見直しが終わりました ({by})"),
    },
    device: |who, gateway| format!("新しい機器: {who}{}", if gateway { " (ゲートウェイ)" } else { "" }),
    blind,
    bypass: |on, by| match on {
        true => format!("バイパス開始 ({by}): 何も遮断していません。隔離中の機器も通信できます"),
        false => format!("バイパス終了 ({by}): 遮断を再開しました"),
    },
    channel: |name, error, kind| match error {
        Some(error) => {
            let what = kind.map_or("原因は不明です", trouble);
            format!("通知先 {name} に通知できません: {what} ({error})")
        }
        None => format!("通知先 {name} への通知が復旧しました"),
    },
    test: |by| format!("{by} による通知テストです"),
    somebody: "ある機器",
    more: |count| format!("ほか {count} 件"),
    lost: |count| {
        format!("以前の通知 {count} 件をお届けできませんでした。`sekisho incidents` で確認してください。")
    },
    farewell: "ネットワークセンサー Sekisho からの自動通知です。コマンドは Sekisho 本体で実行してください。",
    undo: [
        "通信を再開させる",
        "誤検知の場合",
        "詳しく見る",
        "承認する",
        "却下する",
        "確認した (ランプを消す)",
    ],
};

fn trouble(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unreachable => "相手に接続できません。電源とアドレスを確認してください",
        Trouble::Broken => "相手が正しく応答しません",
        Trouble::Untrusted => {
            "相手の証明書を信頼できません。ca_file に認証局の証明書を、サーバーには証明書の名前を指定してください"
        }
        Trouble::Refused => "相手に拒否されました",
        Trouble::Unexpected => "相手の応答が想定と異なります",
        Trouble::File => "設定で指定されたファイルを読めません",
        Trouble::Form => "通知文を作成できません",
    }
}

fn severity(severity: u8) -> &'static str {
    match severity {
        1 => "高",
        2 => "中",
        _ => "低",
    }
}

fn place(place: &Place) -> String {
    let port = place.port.as_ref().map(|port| format!("ポート {port}"));
    let vlan = place.vlan.map(|vlan| format!("VLAN {vlan}"));
    let segment = place.segment.as_ref().map(|segment| format!("区画 {segment}"));
    [port, vlan, segment].into_iter().flatten().collect::<Vec<_>>().join("、")
}

/// What it saw, as exactly as there are words for it; what a later release may see is named by the detector.
fn signature(detector: &str, signature: &str) -> String {
    match (ja_terms::signature(signature), ja_terms::detector(detector)) {
        (Some(exactly), _) => exactly.to_owned(),
        (None, Some(what)) => format!("{what} [{signature}]"),
        (None, None) => signature.to_owned(),
    }
}

fn number(name: &str) -> String {
    ja_terms::number(name).map_or_else(|| name.replace('_', " "), str::to_owned)
}

fn action(name: &str) -> &'static str {
    match name {
        "none" | "lowered" => "なし (通知のみ)",
        "throttled" => "通信量を制限しました",
        "pinned" => "これまでの通信だけに制限しました",
        "isolated" => "隔離しました",
        "would_throttle" => "なし (観察モード。実施なら通信量を制限)",
        "would_pin" => "なし (観察モード。実施ならこれまでの通信だけに制限)",
        "would_isolate" => "なし (観察モード。実施なら隔離)",
        "ungraded_throttle" | "ungraded_pin" | "ungraded_isolate" => "なし (単独では決め手に欠けます)",
        "waits" => "承認を待っています",
        "denied" => "なし (却下されました)",
        "not_approved" => "なし (期限までに承認がありませんでした)",
        "already_isolated" => "追加の対応なし (すでに制限中です)",
        "gateway" => "なし (ゲートウェイのため)",
        "protected" => "なし (保護対象のため)",
        "budget_spent" => "なし (短時間の隔離が多すぎます。人の判断が必要です)",
        "no_own_address" => "なし (その機器だけのアドレスがありません)",
        _ => "インシデントを確認してください",
    }
}

fn level(level: &str) -> &'static str {
    match level {
        "observe" => "監視",
        "throttle" => "通信量の制限",
        "external-only" => "外部との通信の遮断",
        "pin" => "これまでの通信だけに制限",
        "quarantine" => "検疫",
        "isolate" => "隔離",
        "cut" => "完全な遮断",
        _ => "制限",
    }
}

fn held(entry: &Entry) -> String {
    let way = match entry.direction.as_str() {
        "from" => " (送信のみ)",
        "to" => " (受信のみ)",
        _ => "",
    };
    let held = level(&entry.level);
    let latency = entry.latency_ns.map(|ns| format!("、最初の根拠から {:.1} ミリ秒", ns as f64 / 1e6));
    match entry.change {
        Step::Released => "解除しました。通信できます".to_owned(),
        Step::Expired => "期限が来ました。通信できます".to_owned(),
        _ if entry.would => format!("なし (観察モード。実施なら{held}{way})"),
        _ => format!("{held}{way} (エントリ {}{})", entry.id, latency.unwrap_or_default()),
    }
}

fn entry(who: &str, entry: &Entry) -> String {
    let held = level(&entry.level);
    match (entry.change, entry.would) {
        (Step::Released, _) => format!("解除: {who}"),
        (Step::Expired, _) => format!("期限による解除: {who}"),
        (_, true) => format!("{held} (観察モード、未実施): {who}"),
        (Step::Added, _) => format!("{held}: {who}"),
        (Step::Extended, _) => format!("{held}の延長: {who}"),
        (Step::Changed, _) => format!("{held}への変更: {who}"),
    }
}

fn impact(impact: &Impact) -> String {
    let Impact { peers, services, conversations, .. } = impact;
    format!("失われる通信: 相手 {peers} 台、サービス {services} 件 (現在通信中 {conversations} 件)")
}

fn lost_service(lost: &Lost) -> String {
    let vital = if lost.vital { " (維持が必要)" } else { "" };
    let (peer, service) = (&lost.peer, &lost.service);
    if lost.uses {
        format!("{peer} の {service} を利用{vital}")
    } else {
        format!("{peer} に {service} を提供{vital}")
    }
}

fn approval(who: &str, step: &str, name: &str, by: &str) -> String {
    let held = level(name);
    match step {
        "asked" => format!("承認待ち ({held}): {who}"),
        "approved" => format!("承認 ({held}、{by}): {who}"),
        "denied" => format!("却下 ({held}、{by}): {who}"),
        "lapsed_acts" => format!("期限までに却下がないため実行 ({held}): {who}"),
        "lapsed" => format!("期限までに承認なし ({held}は行いません): {who}"),
        _ => format!("承認待ちの取り消し ({held}): {who}"),
    }
}

fn blind(over: bool, causes: &[String], frames: u64, records: u64) -> String {
    let causes: Vec<_> = causes
        .iter()
        .map(|cause| match cause.as_str() {
            "records_lost" => "新しい通信が多すぎます",
            "unread" => "読み取る前に通信の記録があふれました",
            "coverage" => "見えなかったフレームが多すぎます",
            "stopped" => "監視プログラムが停止していたか、遅れました",
            other => other,
        })
        .collect();
    let causes = causes.join("、");
    let lost = format!("失われたフレーム {frames}、新しい通信の記録 {records}");
    if over {
        format!("監視が回復しました ({causes}。{lost})")
    } else {
        format!("監視不能: {causes}。検知がないことは安全を意味しません ({lost})")
    }
}
