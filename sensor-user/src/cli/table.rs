//! Tables for a terminal: as wide as it is, cells cut short where they must be.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::label;

/// Space between columns.
const GAP: usize = 2;

/// A column.
pub struct Column {
    title: &'static str,
    /// What is left of it when space is short.
    least: usize,
    right: bool,
}

/// A column whose cells keep at least `least` characters, unless they are shorter by themselves.
pub fn column(title: &'static str, least: usize) -> Column {
    Column { title, least, right: false }
}

/// A column of numbers.
pub fn numbers(title: &'static str) -> Column {
    Column { title, least: usize::MAX, right: true }
}

/// The table as lines no wider than `width`, unless the columns' least widths are more.
pub fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]], width: usize) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| label::plain(cell))).collect();
    let mut widths: [usize; N] = columns.each_ref().map(|column| column.title.width());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    shrink(&columns, &mut widths, width);
    let titles = columns.each_ref().map(|column| column.title.to_owned());
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&columns).zip(widths) {
            let cell = cut(cell, width);
            let pad = " ".repeat(width - cell.width());
            line.push_str(&if column.right { format!("{pad}{cell}") } else { format!("{cell}{pad}") });
            line.push_str(&" ".repeat(GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Takes from the widest columns until the table fits.
fn shrink<const N: usize>(columns: &[Column; N], widths: &mut [usize; N], width: usize) {
    while widths.iter().sum::<usize>() + GAP * (N - 1) > width {
        let spare = (0..N).filter(|i| widths[*i] > columns[*i].least.max(columns[*i].title.width()));
        match spare.max_by_key(|i| widths[*i]) {
            Some(widest) => widths[widest] -= 1,
            None => return,
        }
    }
}

/// The text cut to that many places on the screen, with an ellipsis if something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    format!("{}…", short.trim_end())
}

/// The width to use: that of the terminal, within bounds in which a table can be read; 100 if there is none.
pub fn screen_width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0).clamp(80, 160))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[[&str; 3]]) -> Vec<[String; 3]> {
        cells.iter().map(|row| row.map(str::to_owned)).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = rows(&[["MRI 2", "10.0.0.7", "3"], ["Reception", "-", "120"]]);
        let text = table([column("DEVICE", 8), column("ADDRESS", 8), numbers("SEEN")], &rows, 80);
        assert_eq!(text, "DEVICE     ADDRESS   SEEN\nMRI 2      10.0.0.7     3\nReception  -          120\n");
    }

    #[test]
    fn wide_cells_are_cut() {
        let rows = rows(&[["a very long name of a device", "another long text here", "1"]]);
        let text = table([column("DEVICE", 8), column("REASON", 8), numbers("N")], &rows, 30);
        assert_eq!(text, "DEVICE         REASON        N\na very long…   another lon…  1\n");
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
    }

    #[test]
    fn japanese_takes_two_places() {
        let rows = rows(&[["第二内科受付パソコン", "x", "1"], ["ab", "y", "2"]]);
        let text = table([column("DEVICE", 4), column("B", 1), numbers("N")], &rows, 18);
        assert_eq!(text, "DEVICE        B  N\n第二内科受…   x  1\nab            y  2\n");
    }

    #[test]
    fn a_cell_is_one_line() {
        let rows = rows(&[["a\nb\x1b[2J", "", ""]]);
        assert_eq!(table([column("A", 1), column("B", 1), column("C", 1)], &rows, 80).lines().count(), 2);
    }

    #[test]
    fn too_narrow_a_screen_is_no_reason_to_panic() {
        let rows = rows(&[["aaaaaaaa", "bbbbbbbb", "1"]]);
        for width in 0..10 {
            table([column("A", 0), column("B", 0), numbers("C")], &rows, width);
        }
        assert_eq!((cut("abc", 0), cut("第", 1)), ("…".to_owned(), "…".to_owned()));
    }
}
