//! A terminal as a picture: each run of cells that look the same is one text.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use std::fmt::Write;

const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;

/// The buffer as the text of an SVG file.
pub(crate) fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (f64::from(columns) * WIDTH + 20.0, f64::from(rows) * HEIGHT + 20.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#12161c\"/>\n"
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let start = column;
            let look = look_of(buffer, column, row);
            let mut run = String::new();
            while column < columns && look_of(buffer, column, row) == look {
                run.push_str(buffer[(column, row)].symbol());
                column += 1;
            }
            let (x, y) = (10.0 + f64::from(start) * WIDTH, 10.0 + f64::from(row) * HEIGHT);
            let (front, back, is_bold) = look;
            let long = f64::from(column - start) * WIDTH;
            // Writing to a `String` does not fail.
            if let Some(back) = back {
                _ = writeln!(
                    text,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{HEIGHT}\" fill=\"{back}\"/>"
                );
            }
            if run.trim().is_empty() {
                continue;
            }
            let run = run.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let weight = if is_bold { " font-weight=\"bold\"" } else { "" };
            _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{front}\"{weight} textLength=\"{long:.1}\" xml:space=\"preserve\">{run}</text>",
                y + 13.5
            );
        }
    }
    text + "</svg>\n"
}

/// The colour of the letters, that behind them, and whether they are bold.
fn look_of(buffer: &Buffer, column: u16, row: u16) -> (&'static str, Option<&'static str>, bool) {
    let cell = &buffer[(column, row)];
    let front = match cell.fg {
        Color::Red => "#ff6b6b",
        Color::Green => "#4ade80",
        Color::Yellow => "#facc15",
        Color::DarkGray => "#94a1b2",
        _ => "#e3e8ef",
    };
    let is_bold = cell.modifier.contains(Modifier::BOLD);
    if cell.modifier.contains(Modifier::REVERSED) { ("#12161c", Some(front), is_bold) } else { (front, None, is_bold) }
}
