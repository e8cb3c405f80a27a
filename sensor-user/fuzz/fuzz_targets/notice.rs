//! Any bytes as a notice from the disk: refused, or told in every form.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use sensor_notify::notice::Notice;
use sensor_notify::send::{syslog, trap, webhook};
use sensor_notify::settings::{ENTERPRISE, Format, Language, Template};
use sensor_notify::words;

fuzz_target!(|input: &[u8]| {
    let Ok(notice) = serde_json::from_slice::<Notice>(input) else { return };
    let letter = words::letter(Language::Both, std::slice::from_ref(&notice), 1, &TimeZone::UTC);
    assert!(!letter.text().is_empty() && !words::page(&letter).contains("<script"));
    for template in [Template::Json, Template::Slack, Template::Teams] {
        webhook::body(template, Language::Both, &notice, &TimeZone::UTC);
    }
    for format in [Format::Rfc5424, Format::Cef] {
        // A message is a line.
        assert!(!syslog::message(format, 0, ENTERPRISE, "host", &notice).contains(&b'\n'));
    }
    trap::objects(&notice);
});
