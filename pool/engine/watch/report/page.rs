//! How the report of a pool looks: one page that needs nothing beside itself, and runs nothing.

use super::html::Text;
use super::row::Span;
use super::{Cause, Report, Slow, Totals, What};
use crate::engine::watch::histogram::{Histogram, mean};
use crate::sys::child::own_pid;
use crate::sys::executable;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const STYLE: &str = include_str!("style.css");

/// The width of pictures, and of what stands left of the timeline.
const WIDTH: f64 = 1072.0;
const LEFT: f64 = 76.0;

/// The height of a row of the timeline, and of the box in it.
const ROW: f64 = 20.0;
const BAR: f64 = 15.0;

/// How many colours there are for functions.
const COLOURS: usize = 8;

/// Writes the page.
pub(super) fn write(out: &mut impl Write, report: &Report, totals: &Totals<'_>) -> io::Result<()> {
    let lasted = report.start.elapsed();
    head(out, report, totals, lasted)?;
    timeline(out, report, lasted)?;
    times(out, totals)?;
    calls(out, report)?;
    slowest(out, &report.slowest)?;
    failures(out, report)?;
    ends(out, report)?;
    out.write_all(b"</body>\n</html>\n")
}

fn head(out: &mut impl Write, report: &Report, totals: &Totals<'_>, lasted: Duration) -> io::Result<()> {
    // Nothing is loaded and nothing runs, even if a text should get through as more than text.
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}: a pool of multiproc</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        Text(&executable::name())
    )?;
    writeln!(
        out,
        "<p class=\"quiet\">A pool with workers called \u{201c}{}\u{201d} in process {}, made on {} and written at its end \
         by multiproc {}.</p>",
        Text(&report.pool),
        own_pid(),
        date(report.begun),
        env!("CARGO_PKG_VERSION")
    )?;
    let busy: Duration = report.rows.iter().map(|row| row.busy).sum();
    let there = lasted.as_secs_f64() * report.rows.len() as f64;
    let share = if there > 0.0 { (100.0 * busy.as_secs_f64() / there).min(100.0) } else { 0.0 };
    let per_second = totals.tasks as f64 / lasted.as_secs_f64().max(1e-9);
    out.write_all(b"<div class=\"tiles\">\n")?;
    tile(out, &totals.tasks.to_string(), "tasks", false)?;
    tile(out, &totals.failed.to_string(), "failed", totals.failed > 0)?;
    tile(out, &totals.retried.to_string(), "run again", false)?;
    tile(out, &totals.restarts.to_string(), "workers replaced", totals.restarts > 0)?;
    tile(out, &time(lasted), "from begin to end", false)?;
    tile(out, &format!("{per_second:.0}"), "tasks per second", false)?;
    tile(out, &format!("{share:.0} %"), "of the workers' time in tasks", false)?;
    out.write_all(b"</div>\n")
}

fn tile(out: &mut impl Write, figure: &str, what: &str, is_bad: bool) -> io::Result<()> {
    let class = if is_bad { " class=\"bad\"" } else { "" };
    writeln!(out, "<div><b{class}>{figure}</b><span class=\"quiet\">{what}</span></div>")
}

/// Which worker ran what when.
fn timeline(out: &mut impl Write, report: &Report, lasted: Duration) -> io::Result<()> {
    out.write_all(b"<h2>Timeline</h2>\n<p class=\"legend\">")?;
    for (place, account) in report.functions.all.iter().enumerate() {
        let (colour, name) = (place % COLOURS, Text(account.name));
        write!(
            out,
            "<span><svg viewBox=\"0 0 1 1\"><rect class=\"f{colour}\" width=\"1\" height=\"1\"/></svg><code>{name}</code></span>"
        )?;
    }
    out.write_all(b"</p>\n<div class=\"wide\">")?;
    let height = 22.0 + ROW * report.rows.len() as f64;
    writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"which worker ran what when\">")?;
    let x = |at: Duration| LEFT + (WIDTH - LEFT) * (at.as_secs_f64() / lasted.as_secs_f64().max(1e-9)).min(1.0);
    for part in 0..=4u32 {
        let at = lasted * part / 4;
        let (place, anchor) = (x(at), ["start", "middle", "middle", "middle", "end"][part as usize]);
        writeln!(out, "<line class=\"axis\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"14\" y2=\"{height}\"/>")?;
        writeln!(out, "<text x=\"{place:.1}\" y=\"10\" text-anchor=\"{anchor}\">{}</text>", time(at))?;
    }
    for (place, row) in report.rows.iter().enumerate() {
        let top = 18.0 + ROW * place as f64;
        writeln!(out, "<text x=\"0\" y=\"{:.1}\">worker {place}<title>", top + 12.0)?;
        writeln!(out, "{} tasks in {}, by {} processes</title></text>", row.tasks, time(row.busy), row.workers)?;
        for span in row.spans() {
            bar(out, report, span, x(span.start), x(span.end), top)?;
        }
        for at in &row.ready {
            let (place, bottom) = (x(*at), top + BAR);
            writeln!(
                out,
                "<line class=\"ready\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\">\
                 <title>ready after {}</title></line>",
                time(*at)
            )?;
        }
    }
    out.write_all(
        b"</svg></div>\n<p class=\"quiet\">A line marks when a worker became ready; a piece that stands for many \
        tasks is the fainter the less of it they were run; red is a task that has lost its worker.</p>\n",
    )
}

fn bar(out: &mut impl Write, report: &Report, span: &Span, from: f64, to: f64, top: f64) -> io::Result<()> {
    let length = span.end.saturating_sub(span.start);
    let share = if length.is_zero() { 1.0 } else { span.busy.as_secs_f64() / length.as_secs_f64() };
    let (class, name) = match span.function {
        _ if span.lost > 0 && span.tasks <= 1 => ("lost".to_owned(), "a task that has lost its worker"),
        Some(function) => (format!("f{}", function % COLOURS), report.functions.all[function].name),
        None => ("mixed".to_owned(), "several functions"),
    };
    // What is too short to be seen is seen all the same.
    let (width, opacity) = ((to - from).max(1.0), 0.25 + 0.75 * share.clamp(0.0, 1.0));
    writeln!(
        out,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" \
         fill-opacity=\"{opacity:.2}\"><title>{}",
        Text(name)
    )?;
    match span.tasks {
        0 | 1 => write!(out, "task {}", span.first)?,
        tasks => write!(out, "{tasks} tasks from task {} on", span.first)?,
    }
    if span.lost > 0 {
        write!(out, ", {} of them lost with their worker", span.lost)?;
    }
    writeln!(out, "\nbegun after {:.3?}, {:.3?} long, {:.3?} in tasks</title></rect>", span.start, length, span.busy)
}

/// How long tasks have run, and waited before that.
fn times(out: &mut impl Write, totals: &Totals<'_>) -> io::Result<()> {
    out.write_all(
        b"<h2>Times</h2>\n<div class=\"wide\"><table><tr><th class=\"text\"></th><th>tasks</th><th>mean</th><th>median</th>\
          <th>90 %</th><th>99 %</th><th>99.9 %</th><th>longest</th></tr>\n",
    )?;
    for (name, times) in [("ran", totals.run_times), ("waited", totals.wait_times)] {
        let count = times.count();
        write!(
            out,
            "<tr><td class=\"text\">{name}</td><td>{count}</td><td>{}</td>",
            shown(mean(times.total(), count))
        )?;
        for part in [0.5, 0.9, 0.99, 0.999, 1.0] {
            write!(out, "<td>{}</td>", shown(times.quantile(part)))?;
        }
        out.write_all(b"</tr>\n")?;
    }
    out.write_all(
        b"</table></div>\n<p class=\"quiet\">A percentile is the end of the bucket in which it is, and so up to an eighth too \
          long. Tasks wait from when they were handed in until their frame begins.</p>\n",
    )?;
    distribution(out, totals.run_times, "ran", "f0")?;
    distribution(out, totals.wait_times, "waited", "f1")
}

/// How many tasks took how long, by doublings.
fn distribution(out: &mut impl Write, times: &Histogram, name: &str, class: &str) -> io::Result<()> {
    let ends: Vec<(Duration, u64)> = times.by_doublings().collect();
    let below = std::iter::once(0).chain(ends.iter().map(|(_, below)| *below));
    let mut buckets: Vec<(Duration, u64)> = ends.iter().zip(below).map(|((end, to), from)| (*end, to - from)).collect();
    // From the first to the last that has any.
    let Some(first) = buckets.iter().position(|(_, count)| *count > 0) else { return Ok(()) };
    let last = buckets.iter().rposition(|(_, count)| *count > 0).unwrap_or(first);
    buckets.truncate(last + 1);
    let buckets = &buckets[first..];
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let step = (WIDTH / buckets.len() as f64).min(110.0);
    // So many buckets share one text, which needs this width.
    let stride = (66.0 / step).ceil() as usize;
    writeln!(out, "<h3>{name} for how long</h3>")?;
    writeln!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} 92\" role=\"img\" aria-label=\"how long tasks {name}\">"
    )?;
    for (at, (end, count)) in buckets.iter().enumerate() {
        let (left, height) = (step * at as f64, 60.0 * *count as f64 / most as f64);
        let end = time(*end);
        // One task among a million is to be seen as well.
        let height = if *count > 0 { height.max(1.5) } else { 0.0 };
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{count} tasks {name} for up to {end}</title></rect>",
            74.0 - height,
            step - 3.0
        )?;
        let middle = left + step / 2.0;
        if at % stride == 0 {
            writeln!(out, "<text x=\"{middle:.1}\" y=\"88\" text-anchor=\"middle\">\u{2264} {end}</text>")?;
        }
        if *count > 0 {
            let above = 74.0 - height - 3.0;
            writeln!(out, "<text x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{count}</text>")?;
        }
    }
    out.write_all(b"</svg></div>\n")
}

fn calls(out: &mut impl Write, report: &Report) -> io::Result<()> {
    out.write_all(
        b"<h2>Calls</h2>\n<div class=\"wide\"><table><tr><th class=\"text\">function</th><th>calls</th><th>tasks run</th>\
          <th>failed</th><th>time in workers</th><th>mean</th><th>longest</th></tr>\n",
    )?;
    for account in &report.functions.all {
        let failed = if account.failed > 0 { " class=\"bad\"" } else { "" };
        writeln!(
            out,
            "<tr><td class=\"text\"><code>{}</code></td><td>{}</td><td>{}</td><td{failed}>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            Text(account.name),
            account.calls,
            account.tasks,
            account.failed,
            time(account.busy),
            shown(mean(account.busy, account.tasks)),
            time(account.longest)
        )?;
    }
    out.write_all(b"</table></div>\n")
}

fn slowest(out: &mut impl Write, slowest: &[Slow]) -> io::Result<()> {
    out.write_all(
        b"<h2>Slowest tasks</h2>\n<div class=\"wide\"><table><tr><th>time</th><th class=\"text\">function</th><th>task</th>\
          <th>begun after</th><th>worker</th><th>process</th></tr>\n",
    )?;
    for Slow { function, index, of, time: lasted, at, place, pid } in slowest {
        let (function, lasted, at) = (Text(function), time(*lasted), time(*at));
        let mean_of = if *of > 1 { format!(" (mean of {of})") } else { String::new() };
        let process = pid.map(|pid| pid.to_string()).unwrap_or_default();
        writeln!(
            out,
            "<tr><td>{lasted}</td><td class=\"text\"><code>{function}</code></td><td>{index}{mean_of}</td><td>{at}</td>\
             <td>{place}</td><td>{process}</td></tr>"
        )?;
    }
    out.write_all(b"</table></div>\n")
}

fn failures(out: &mut impl Write, report: &Report) -> io::Result<()> {
    out.write_all(b"<h2>Failures</h2>\n")?;
    if report.causes.is_empty() {
        return out.write_all(b"<p class=\"quiet\">None.</p>\n");
    }
    for Cause { function, count, at, index, what, .. } in &report.causes {
        let times = if *count > 1 { format!("{count} times, first ") } else { String::new() };
        writeln!(
            out,
            "<p><b class=\"bad\">{times}task {index}</b> of <code>{}</code>, after {}:</p>",
            Text(function),
            time(*at)
        )?;
        let (reason, backtrace, output) = match what {
            What::Text { reason, backtrace } => (reason.clone(), backtrace.as_deref(), None),
            What::Lost(error) => (error.reason().to_string(), error.backtrace(), error.output()),
        };
        writeln!(out, "<pre>{}</pre>", Text(&reason))?;
        for (name, text) in [("The calls that led there", backtrace), ("What it had written to stderr", output)] {
            if let Some(text) = text {
                writeln!(out, "<details><summary>{name}</summary><pre>{}</pre></details>", Text(text))?;
            }
        }
    }
    if report.other_failures > 0 {
        writeln!(out, "<p class=\"quiet\">And {} failures of other causes.</p>", report.other_failures)?;
    }
    Ok(())
}

fn ends(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.ends.is_empty() {
        return Ok(());
    }
    out.write_all(b"<h2>Workers that died</h2>\n<ul>\n")?;
    for end in &report.ends {
        writeln!(out, "<li>after {}: {}</li>", time(end.at), Text(&end.text))?;
    }
    if report.other_ends > 0 {
        writeln!(out, "<li class=\"quiet\">and {} more</li>", report.other_ends)?;
    }
    out.write_all(b"</ul>\n")
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(String::new, self::time)
}

/// A time of a few letters. Nothing has no unit.
fn time(time: Duration) -> String {
    if time.is_zero() { "0".to_owned() } else { format!("{time:.1?}") }
}

/// A point of time in UTC, by the Gregorian calendar.
pub(super) fn date(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years of the calendar that begin in March, so that leap days are last days; from the year 0 on.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (year, hour, minute) = (400 * era + year + next, second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}
