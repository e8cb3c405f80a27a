//! Japanese words for what the core names: detectors, what they saw, and their numbers. A test reads the detectors, and fails
//! if one of their words is missing here.

/// What a detector looks for.
pub fn detector(detector: &str) -> Option<&'static str> {
    Some(match detector {
        "scan" => "スキャン (多数の宛先を探る通信)",
        "port_scan" => "ポートスキャン (1 台の多数のポートを探る通信)",
        "lateral" => "横展開の疑い (管理・ファイル共有サービスで初めての機器へ次々に接続)",
        "chain" => "横展開の連鎖 (管理サービスで接続された後、別の機器へ接続)",
        "exposed" => "感染の拡大の疑い (制限された機器から接続された後、同じサービスで別の機器へ接続)",
        "fanout" => "通信先の急増",
        "novelty" => "初めての通信先が多い",
        "swarm" => "外部の多数のホストと通信",
        "spoof" => "なりすましの疑い",
        "brute" => "パスワード総当たりの疑い",
        "beacon" => "一定間隔の通信 (遠隔操作の疑い)",
        "exfil" => "大量のデータ送信 (持ち出しの疑い)",
        "rewrite" => "ファイルサーバー上のデータの大量書き換え (ランサムウェアの疑い)",
        "flood" => "大量の送信",
        "policy" => "禁止された通信、または普段ない通信",
        "identity" => "機器の性質の変化",
        "unusual" => "普段と異なる通信",
        _ => return None,
    })
}

/// What exactly it saw.
pub fn signature(signature: &str) -> Option<&'static str> {
    SIGNATURES.iter().find(|(english, _)| *english == signature).map(|(_, japanese)| *japanese)
}

/// What the core says of findings, and how that is said in Japanese.
const SIGNATURES: &[(&str, &str)] = &[
    (
        "ARP scan: asks for many addresses nobody has",
        "ARP スキャン: 使われていないアドレスを多数探っています",
    ),
    (
        "neighbour scan: asks for many IPv6 addresses nobody has",
        "近隣スキャン: 使われていない IPv6 アドレスを多数探っています",
    ),
    (
        "network scan by UDP: one service of many addresses nobody has",
        "UDP のネットワークスキャン: 使われていない多数のアドレスの同じサービスを探っています",
    ),
    ("ping sweep: many hosts do not answer", "ping スキャン: 応答のない宛先が多数あります"),
    (
        "network scan: first contacts to many hosts fail",
        "ネットワークスキャン: 多数の宛先への初回接続に失敗しています",
    ),
    (
        "outward scan: first contacts to many hosts fail on one service",
        "外部へのスキャン: 同じサービスで多数の宛先への初回接続に失敗しています",
    ),
    (
        "intrusion attempt from outside: first contacts to many hosts fail",
        "外部からの侵入の試み: 多数の宛先への初回接続に失敗しています",
    ),
    (
        "port scan: many services of one host refused",
        "ポートスキャン: 1 台の多数のサービスに拒否されています",
    ),
    (
        "intrusion attempt from outside: many services of one host refused",
        "外部からの侵入の試み: 1 台の多数のサービスに拒否されています",
    ),
    (
        "protocol scan: many IP protocols of one host tried",
        "プロトコルスキャン: 1 台に対し多数の IP プロトコルを試しています",
    ),
    (
        "intrusion attempt from outside: many IP protocols of one host tried",
        "外部からの侵入の試み: 1 台に対し多数の IP プロトコルを試しています",
    ),
    (
        "lateral movement: file sharing (SMB) to many new hosts",
        "横展開の疑い: ファイル共有 (SMB) で初めての機器へ次々に接続しています",
    ),
    (
        "lateral movement: remote procedure calls to many new hosts",
        "横展開の疑い: リモートプロシージャコール (RPC) で初めての機器へ次々に接続しています",
    ),
    (
        "lateral movement: remote desktop to many new hosts",
        "横展開の疑い: リモートデスクトップで初めての機器へ次々に接続しています",
    ),
    (
        "remote shell to many new hosts",
        "横展開の疑い: リモートシェル (SSH など) で初めての機器へ次々に接続しています",
    ),
    (
        "intrusion attempt from outside: an administration service of many hosts",
        "外部からの侵入の試み: 多数の機器の管理サービスに接続しています",
    ),
    (
        "lateral chain: turned to by a service for administration, it turns to a new host by one",
        "横展開の連鎖: 管理サービスで接続された後、管理サービスで初めての機器へ接続しました",
    ),
    (
        "exposed: reached by a device that was restricted as a scanner, it goes on by the same service",
        "感染の拡大の疑い: スキャンのため制限された機器から接続された後、同じサービスで別の機器へ接続しました",
    ),
    ("fan-out: more destinations than usual", "通信先の急増: 普段より多くの宛先と通信しています"),
    (
        "fan-out: more new destinations than usual while flows were lost",
        "通信先の急増: 通信の記録が失われた間に、普段より多くの新しい宛先と通信しました",
    ),
    (
        "novelty: many hosts inside within an hour that it never turned to",
        "初めての通信先が多い: 1 時間以内に、通信したことのない内部の機器多数と通信しました",
    ),
    (
        "novelty: many hosts inside within a day that it never turned to",
        "初めての通信先が多い: 1 日以内に、通信したことのない内部の機器多数と通信しました",
    ),
    (
        "slow lateral movement: a service for administration of many new hosts within an hour",
        "ゆっくりした横展開の疑い: 1 時間以内に、初めての機器多数の管理サービスに接続しました",
    ),
    (
        "slow lateral movement: a service for administration of many new hosts within a day",
        "ゆっくりした横展開の疑い: 1 日以内に、初めての機器多数の管理サービスに接続しました",
    ),
    (
        "swarm: many hosts outside on one service that is not the web's",
        "外部の多数のホストと通信: Web 以外の同じサービスを使っています",
    ),
    (
        "ARP spoofing: claims a router's address, which the router claims too",
        "ARP スプーフィング: ルーターが使用中のアドレスを名乗っています",
    ),
    (
        "ARP spoofing: took a router's place by claiming an address to one client alone",
        "ARP スプーフィング: 1 台の機器にだけアドレスを名乗り、ルーターに成り代わりました",
    ),
    (
        "a router's address is claimed by a second device in turns",
        "ルーターのアドレスを別の機器が交互に名乗っています",
    ),
    (
        "address conflict: two devices claim one address in turns",
        "アドレスの重複: 2 台の機器が同じアドレスを交互に名乗っています",
    ),
    (
        "a DHCP server that was not there before answers clients",
        "これまでなかった DHCP サーバーが応答しています",
    ),
    ("a MAC address is at two ports in turns", "同じ MAC アドレスが 2 つのポートに交互に現れています"),
    (
        "MAC flood: more new MAC addresses at a port than there can be devices",
        "MAC フラッド: 1 つのポートに、あり得ない数の新しい MAC アドレスが現れました",
    ),
    (
        "brute force: many short sessions of one kind with a service one logs in to",
        "総当たりの疑い: ログインするサービスに、同じような短い接続を繰り返しています",
    ),
    (
        "many short sessions of one kind by file sharing or remote calls",
        "ファイル共有またはリモート呼び出しで、同じような短い接続を繰り返しています",
    ),
    (
        "many short sessions of one kind with one service",
        "1 つのサービスに、同じような短い接続を繰り返しています",
    ),
    (
        "beacon: calls one host inside evenly that hardly anybody else calls",
        "一定間隔の通信: ほかの機器がほとんど使わない内部の 1 台に、一定の間隔で接続しています",
    ),
    (
        "beacon: calls one host outside evenly that hardly anybody else calls",
        "一定間隔の通信: ほかの機器がほとんど使わない外部の 1 台に、一定の間隔で接続しています",
    ),
    (
        "exfiltration: sends much to a host it never talked to before",
        "持ち出しの疑い: 通信したことのない宛先に大量に送信しています",
    ),
    (
        "exfiltration: sends much to a host it used to receive from",
        "持ち出しの疑い: これまで受信していた相手に大量に送信しています",
    ),
    (
        "rewriting: reads much from several file servers and writes as much back",
        "データ書き換えの疑い: 複数のファイルサーバーから大量に読み出し、同程度の量を書き戻しています",
    ),
    (
        "rewriting: reads very much from one file server and writes as much back",
        "データ書き換えの疑い: 1 台のファイルサーバーから非常に大量に読み出し、同程度の量を書き戻しています",
    ),
    (
        "SYN flood: begins far more connections with one host than are answered",
        "SYN フラッド: 1 台に対し、応答をはるかに上回る数の接続を始めています",
    ),
    (
        "UDP flood: sends one host far more than is answered",
        "UDP フラッド: 1 台に対し、応答をはるかに上回る量を送信しています",
    ),
    (
        "ICMP flood: sends one host far more than is answered",
        "ICMP フラッド: 1 台に対し、応答をはるかに上回る量を送信しています",
    ),
    (
        "DHCP starvation: asks for addresses in many names",
        "DHCP 枯渇攻撃: 多数の名義でアドレスを要求しています",
    ),
    (
        "policy: uses a service that is forbidden to it",
        "禁止された通信: 使用を禁止されたサービスを使っています",
    ),
    (
        "policy: a steady device turns to a network it never turned to",
        "普段ない通信: 通信先の決まった機器が、通信したことのないネットワークへ接続しました",
    ),
    (
        "identity: a service for administration answers that used to refuse",
        "機器の性質の変化: これまで拒否していた管理サービスが応答しています",
    ),
    (
        "identity: two systems speak by one MAC and IP address in turns",
        "機器の性質の変化: 同じ MAC アドレスと IP アドレスで、2 つのシステムが交互に通信しています",
    ),
    (
        "identity: another system came with the MAC address to another port",
        "機器の性質の変化: 同じ MAC アドレスで、別のシステムが別のポートに現れました",
    ),
    (
        "unusual: a conversation unlike those that were learned",
        "普段と異なる通信: 学習した通信と似ていない通信です",
    ),
    (
        "unusual: a minute unlike those that were learned",
        "普段と異なる通信: 学習した様子と似ていない 1 分間です",
    ),
    (
        "unusual: changed bit by bit from what was learned first",
        "普段と異なる通信: 最初に学習した様子から少しずつ変化しました",
    ),
];

/// Why an entry of the block list was made: for an incident it is what was found, and what more led to it; what a person
/// wrote stays as it is.
pub fn reason(reason: &str) -> String {
    let found = SIGNATURES.iter().find_map(|(english, japanese)| {
        let more = reason.strip_prefix(english)?;
        (more.is_empty() || more.starts_with(", ")).then_some((japanese, more))
    });
    let Some((found, mut more)) = found else { return reason.to_owned() };
    let mut text = (*found).to_owned();
    if let Some(rest) = more.strip_prefix(", soon after its time was up") {
        text.push_str("。前回の制限の期限が来た直後です");
        more = rest;
    }
    if let Some((name, rest)) = more.strip_prefix(", after ").and_then(|more| more.split_once(" reached it"))
    {
        text.push_str(&format!("。{name} から接続された後です"));
        more = rest;
    }
    match more.strip_prefix(", approved by ") {
        Some(by) => text.push_str(&format!("。承認: {by}")),
        None => text.push_str(more),
    }
    text
}

/// What the evidence of findings is named by. A list and a count may have the same name: none is called a number of something
/// that may be a list.
pub fn number(name: &str) -> Option<&'static str> {
    Some(match name {
        "address" => "アドレス",
        "answered" => "応答された接続",
        "begun" => "始めた接続",
        "bytes_a_frame" => "1 フレームのバイト数",
        "bytes_received" => "受信バイト数",
        "bytes_sent" => "送信バイト数",
        "chain" => "経路",
        "client" => "クライアント",
        "conversations" => "通信の件数",
        "dest_ip" | "target" => "宛先",
        "dest_port" => "宛先ポート",
        "destinations" => "通信先",
        "examples" => "例",
        "excess_mb" => "超過 (MB)",
        "failed_first_contacts" => "失敗した初回接続",
        "failed_known_services" => "失敗した既知サービスへの接続",
        "failed_services" => "失敗したサービス",
        "first_model" => "最初のモデル",
        "frames" => "フレーム数",
        "gap_in_sum" => "順位の差の合計",
        "handshakes_before" => "以前の接続確立",
        "holder" => "本来の使用者",
        "illegal_flag_probes" => "不正なフラグの探査",
        "inside" => "内部宛て",
        "learned_of" => "学習の対象",
        "limit" => "上限",
        "limit_mb" => "上限 (MB)",
        "log_likelihood_ratio" => "対数尤度比",
        "mac_addresses" => "MAC アドレス",
        "model" => "モデル",
        "moves" => "移動",
        "network" => "ネットワーク",
        "networks" => "ネットワーク",
        "networks_before" => "以前のネットワーク",
        "new_destinations" => "新しい通信先",
        "one_source" => "送信元が 1 つ",
        "pair_age_seconds" => "相手との通信開始からの秒数",
        "period_seconds" => "間隔 (秒)",
        "port" | "ports" => "ポート",
        "protocols" => "プロトコル",
        "rank_by_first_model" => "最初のモデルでの順位",
        "rank_by_new_model" => "新しいモデルでの順位",
        "received_mb" => "受信 (MB)",
        "refused_seconds" => "前回の拒否からの秒数",
        "rewritten_mb" => "書き戻し (MB)",
        "router_before" => "以前のルーター",
        "rule" => "ルール",
        "score" => "点数",
        "score_cover" => "点数 (継続)",
        "score_over_own_level" => "普段を超えた点数",
        "score_size" => "点数 (大きさ)",
        "score_time" => "点数 (間隔)",
        "seconds" => "秒数",
        "sent_mb" => "送信 (MB)",
        "server" => "サーバー",
        "sessions" => "接続",
        "steady_seconds" => "変化のなかった秒数",
        "steps" => "段数",
        "successful_first_contacts" => "成功した初回接続",
        "ttl" => "TTL",
        "turns" => "交代",
        "usual" => "普段の値",
        "usual_mb" => "普段の値 (MB)",
        "usual_of_others" => "ほかの機器の普段の値",
        "usual_once_in_rows" => "普段の頻度 (行に 1 回)",
        "usual_success" => "普段の成功率",
        "usual_ttl" => "普段の TTL",
        "vlan" => "VLAN",
        "while_flows_were_lost" => "通信の記録が失われた間",
        "window" => "TCP ウィンドウ",
        name => return feature(name),
    })
}

/// A value of the evidence: of a model's feature it says what is usual as well, `7000 bytes; usual 0 to 1200, half up to 300 (61 %
/// of the score)`; whatever else it is stays.
pub fn value(text: &str) -> String {
    let unusual = || {
        let (value, more) = text.split_once("; usual ")?;
        let (low, more) = more.split_once(" to ")?;
        let (high, more) = more.split_once(", half up to ")?;
        let (middle, more) = more.split_once(" (")?;
        let part = more.strip_suffix(" of the score)")?;
        Some(format!("{value} (普段は {low} から {high}、半数は {middle} まで。点数の {part} を占めます)"))
    };
    unusual().unwrap_or_else(|| text.to_owned())
}

/// What a model looks at.
fn feature(name: &str) -> Option<&'static str> {
    Some(match name {
        "destination_inside" => "宛先が内部",
        "destination_group" => "宛先がグループ",
        "destination_alive" => "宛先が稼働中",
        "destination_new" => "宛先が初めて",
        "service_new" => "サービスが初めて",
        "address_in_common" => "アドレスの共通部分",
        "tcp" => "TCP",
        "udp" => "UDP",
        "icmp" => "ICMP",
        "arp" => "ARP",
        "medical" => "医療系の通信",
        "web" => "Web の通信",
        "infrastructure" => "基盤サービスの通信",
        "files" => "ファイル共有の通信",
        "administration" => "管理サービスの通信",
        "database" => "データベースの通信",
        "printing" => "印刷の通信",
        "mail" => "メールの通信",
        "other_low_port" => "その他の 1023 以下のポート",
        "high_port" => "1024 以上のポート",
        "packets_out" => "送信パケット",
        "packets_in" => "受信パケット",
        "bytes_out" => "送信バイト数",
        "bytes_in" => "受信バイト数",
        "packets_out_to_in" => "送受信パケットの比",
        "bytes_out_to_in" => "送受信バイト数の比",
        "mean_size_out" => "送信の平均サイズ",
        "mean_size_in" => "受信の平均サイズ",
        "duration" => "継続時間",
        "mean_gap" => "平均間隔",
        "no_answer" => "応答なし",
        "refused" => "拒否",
        "aborted" => "中断",
        "complete" => "正常終了",
        "left_open" => "終了せず",
        "syn_retries" => "SYN の再送",
        "odd_flags" => "異常なフラグ",
        "tunnel" => "トンネル",
        "open_conversations" => "継続中の通信",
        "new_destinations_lately" => "最近の新しい通信先",
        "failed_contacts_lately" => "最近の失敗した接続の割合",
        "flows_out" => "始めた通信",
        "flows_in" => "受けた通信",
        "services" => "サービス",
        "sources" => "送信元",
        "failed_contacts" => "失敗した接続の割合",
        "silent_contacts" => "応答のない接続",
        "refused_contacts" => "拒否された接続",
        "arp_targets" => "ARP の問い合わせ先",
        "arp_silent" => "応答のない ARP の割合",
        "destination_entropy" => "宛先のばらつき",
        "port_entropy" => "ポートのばらつき",
        "other_services" => "その他のサービスの通信",
        "to_new_services" => "初めてのサービスへの通信",
        "outside" => "外部への通信",
        "to_groups" => "グループ宛ての通信",
        "dns" => "DNS の問い合わせ",
        "most_bytes_out" => "1 通信の最大送信バイト数",
        "bytes_to_new" => "初めての宛先への送信バイト数",
        "active" => "通信していた時間",
        _ => return None,
    })
}
