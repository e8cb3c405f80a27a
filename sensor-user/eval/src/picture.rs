//! Pictures of the made-up tiers, as plain SVG: ROC at low false-alarm rates, time to isolation, targets reached by then.
//!
//! Axes are logarithmic, for what matters are factors. Colours are told apart by a dash too, for who does not see them.

use std::fmt::Write;

use crate::contest::{self, Contest};
use crate::runs::Ran;
use crate::subject::tally::Step;
use crate::synthetic::{Simulated, of_kinds};

/// Size of the field of a picture, and what is around it: left, top, right, bottom.
const FIELD: (f64, f64) = (520.0, 300.0);
const AROUND: [f64; 4] = [60.0, 40.0, 260.0, 50.0];
/// Colours that stay apart for most who see few (Okabe and Ito 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES: [&str; 4] = ["", "6 3", "2 2", "8 2 2 2"];

/// A line of a picture: its name, and points from left to right; share is 0 to 1.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// Where it goes: the value, and the share up to there.
    pub points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// The name of its file.
    pub file: &'static str,
    title: &'static str,
    along: &'static str,
    /// The values at both ends.
    range: (f64, f64),
    lines: Vec<Line>,
}

impl Picture {
    fn x(&self, value: f64) -> f64 {
        let (least, most) = self.range;
        let part = (value.max(least) / least).ln() / (most / least).ln();
        AROUND[0] + FIELD.0 * part.min(1.0)
    }

    fn y(share: f64) -> f64 {
        AROUND[1] + FIELD.1 * (1.0 - share)
    }

    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let [left, top, right, bottom] = AROUND;
        let (width, height) = (left + FIELD.0 + right, top + FIELD.1 + bottom);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{left}\" y=\"20\" \
             font-size=\"14\">{}</text>\n",
            escaped(self.title)
        );
        self.axes(&mut svg);
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or("black");
            let dash = DASHES.get(at / 2 % DASHES.len()).copied().unwrap_or_default();
            let points: Vec<_> = line
                .points
                .iter()
                .map(|(value, share)| format!("{:.1},{:.1}", self.x(*value), Self::y(*share)))
                .collect();
            let (key, row) = (left + FIELD.0 + 15.0, top + 10.0 + 18.0 * at as f64);
            let style = format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
            let _ = match points.as_slice() {
                [] => Ok(()),
                // One point is no line.
                [point] => {
                    let (x, y) = point.split_once(',').unwrap_or_default();
                    writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>")
                }
                points => writeln!(svg, "<polyline points=\"{}\" fill=\"none\" {style}/>", points.join(" ")),
            };
            let _ = writeln!(
                svg,
                "<line x1=\"{key}\" x2=\"{}\" y1=\"{row}\" y2=\"{row}\" {style}/><text x=\"{}\" y=\"{}\">{}</text>",
                key + 25.0,
                key + 32.0,
                row + 4.0,
                escaped(&line.name)
            );
        }
        svg + "</svg>\n"
    }

    /// Frame, grid and numbers.
    fn axes(&self, svg: &mut String) {
        let (low, right) = (Self::y(0.0), AROUND[0] + FIELD.0);
        let grid = "stroke=\"#dddddd\"";
        for quarter in 0..=4 {
            let share = f64::from(quarter) / 4.0;
            let y = Self::y(share);
            let _ = writeln!(
                svg,
                "<line x1=\"{}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" {grid}/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0} \
                 %</text>",
                AROUND[0],
                AROUND[0] - 6.0,
                y + 4.0,
                share * 100.0
            );
        }
        let (least, most) = self.range;
        let mut value = least;
        while value <= most * 1.001 {
            let x = self.x(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{low}\" {grid}/><text x=\"{x:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{value}</text>",
                AROUND[1],
                low + 18.0
            );
            value *= 10.0;
        }
        let middle = AROUND[0] + FIELD.0 / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            low + 38.0,
            escaped(self.along)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// How large a part of `of` runs had come to each of these values, as steps up to the end of the picture.
fn rising(mut values: Vec<f64>, of: usize, end: f64) -> Vec<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let share = |count: usize| count as f64 / of.max(1) as f64;
    let steps =
        values.iter().enumerate().flat_map(|(at, value)| [(*value, share(at)), (*value, share(at + 1))]);
    steps.chain([(end, share(values.len()))]).collect()
}

/// Kinds of attack that a picture shows, under one name.
const SHOWN: [(&str, &[&str]); 7] = [
    ("sparse scan, 5 % alive", &["sparse scan 50/s", "sparse scan 1/s"]),
    ("scan 5/s, 30 % alive", &["scan 5/s, 30 % alive"]),
    ("dense scan 5/s, 70 % alive", &["dense scan 5/s, 70 % alive"]),
    ("hit list 1/s", &["hit list 1/s"]),
    ("scan 1 per 10 s, 30 % alive", &["scan 1 per 10 s, 30 % alive"]),
    ("ARP scan 10/s", &["ARP scan 10/s"]),
    ("worm 5/s", &["worm 5/s"]),
];

fn of_steps(ran: &[Ran], end: f64, value: fn((f64, usize)) -> f64) -> Vec<Line> {
    let line = |(name, kinds): (&str, &[&str])| {
        let ran = of_kinds(ran, kinds);
        let values = ran.iter().filter_map(|ran| ran.reached(Step::Pin)).map(value).collect();
        Line { name: name.to_owned(), points: rising(values, ran.len(), end) }
    };
    SHOWN.map(line).into_iter().collect()
}

/// All pictures of what was simulated and of the contest.
pub fn all(simulated: Option<&Simulated>, contests: &[Contest]) -> Vec<Picture> {
    let ran = simulated.map_or(&[][..], |simulated| &simulated.ran);
    let (soonest, latest) = (0.1, 1_000.0);
    vec![
        Picture {
            file: "time.svg",
            title: "Time from the first frame of an attack until its device is pinned or isolated, shipped decisions",
            along: "seconds",
            range: (soonest, latest),
            lines: of_steps(ran, latest, |(seconds, _)| seconds),
        },
        Picture {
            file: "targets.svg",
            title: "Targets an attack had reached when its device was pinned or isolated, shipped decisions",
            along: "targets",
            range: (1.0, 100.0),
            lines: of_steps(ran, 100.0, |(_, targets)| targets as f64),
        },
        Picture {
            file: "roc.svg",
            title: "Attacks found against false alarms, observe mode, all kinds of attack",
            along: "host-days without an attack that were called, of 1,000",
            range: (0.1, 1_000.0),
            lines: contest::curves(contests),
        },
    ]
}

/// The part of the page that shows them.
pub fn page(pictures: &[Picture]) -> String {
    let shown = pictures.iter().map(|picture| format!("![{}]({})\n\n", picture.title, picture.file));
    "\n## Pictures\n\n".to_owned() + &shown.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_each_line_where_it_belongs() {
        let lines = vec![
            Line { name: "half <soon> & all".to_owned(), points: rising(vec![10.0, 1.0], 2, 100.0) },
            Line { name: "one point".to_owned(), points: vec![(1_000.0, 0.5)] },
        ];
        assert_eq!(lines[0].points, [(1.0, 0.0), (1.0, 0.5), (10.0, 0.5), (10.0, 1.0), (100.0, 1.0)]);
        let picture = Picture { file: "a.svg", title: "a", along: "seconds", range: (1.0, 100.0), lines };
        let svg = picture.svg();
        assert!(svg.contains("60.0,340.0 60.0,190.0 320.0,190.0 320.0,40.0 580.0,40.0"), "{svg}");
        assert!(svg.contains("half &lt;soon> &amp; all"), "{svg}");
        assert!(svg.contains("<circle cx=\"580.0\" cy=\"190.0\""), "off the scale is at its end: {svg}");
        assert_eq!(svg.matches("<polyline").count(), 1);
    }
}
