//! A letter as a page of HTML that needs nothing from elsewhere.

use super::{Letter, Phrases, Section};

/// The letter as HTML.
pub fn page(letter: &Letter) -> String {
    let mut page = String::from(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"></head>\
         <body style=\"font-family:sans-serif;font-size:14px;color:#222\">",
    );
    for (index, (phrases, sections)) in letter.parts.iter().enumerate() {
        if index > 0 {
            page.push_str("<hr style=\"margin:24px 0\">");
        }
        sections.iter().for_each(|one| section(&mut page, phrases, one));
        for note in letter.notes(phrases) {
            page.push_str(&format!("<p><b>{}</b></p>", escape(&note)));
        }
        page.push_str(&format!("<p style=\"color:#666\">{}</p>", escape(phrases.farewell)));
    }
    page.push_str("</body></html>");
    page
}

fn section(page: &mut String, phrases: &Phrases, section: &Section) {
    let colour = match section.severity {
        1 => "#c62828",
        2 => "#e08e00",
        _ => "#2e7d32",
    };
    page.push_str(&format!(
        "<div style=\"border-left:6px solid {colour};padding:4px 12px;margin:0 0 16px\">\
         <p style=\"font-size:16px;margin:4px 0\"><b style=\"color:{colour}\">[{}]</b> <b>{}</b></p>\
         <table style=\"border-collapse:collapse\">",
        escape((phrases.severity)(section.severity)),
        escape(&section.headline),
    ));
    for (label, value) in &section.rows {
        page.push_str(&format!(
            "<tr><td style=\"padding:2px 12px 2px 0;color:#666;vertical-align:top;white-space:nowrap\">{}</td>\
             <td style=\"padding:2px 0\">{}</td></tr>",
            escape(label),
            escape(value).replace('\n', "<br>"),
        ));
    }
    page.push_str("</table></div>");
}

/// The text, so that nothing in it is taken for a tag.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
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
