//! How it looks.

use crate::app::{App, Over};
use crate::wire::{Call, Times, Worker};
use Column::{Number, Rest, Text};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState, Wrap};

/// How wide a column is, and at which side its text stands.
#[derive(Clone, Copy)]
enum Column {
    Text(u16),
    Number(u16),
    /// Text in what the others leave.
    Rest,
}

const QUIET: Style = Style::new().fg(Color::DarkGray);

pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let calls = u16::try_from(app.shown.calls.len().min(8)).unwrap_or(8);
    let parts = [
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Min(4),
        Constraint::Length(if calls > 0 { calls + 2 } else { 0 }),
        Constraint::Length(1),
    ];
    let [top, figures, workers, calls, bottom] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(pools(app), top);
    if app.places.is_empty() {
        let text = "There is no pool to be looked at.\n\nStart a program with MULTIPROC_VIEW=1 in its environment, or make its pool \
                    with PoolBuilder::view.";
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), figures.union(workers));
    } else {
        frame.render_widget(Paragraph::new(totals(app)), figures);
        let mut state = TableState::new().with_selected(Some(app.worker));
        frame.render_stateful_widget(worker_table(app), workers, &mut state);
        frame.render_widget(call_table(&app.shown.calls), calls);
    }
    frame.render_widget(footer(app), bottom);
    over(frame, app);
}

/// The pools, of which one is shown.
fn pools(app: &App) -> Line<'static> {
    let mut line = vec![Span::from(" multiproc-top ").bold()];
    for (at, place) in app.places.iter().enumerate() {
        let text = format!(" {} {} \u{b7} {} ", plain(&place.program), place.pid, plain(&place.name));
        let style = if at == app.chosen { Style::new().add_modifier(Modifier::REVERSED) } else { QUIET };
        line.push(Span::styled(text, style));
    }
    Line::from(line)
}

fn totals(app: &App) -> Vec<Line<'static>> {
    let shown = &app.shown;
    let busy = app.busy.iter().sum::<f64>() / app.busy.len().max(1) as f64;
    let failed = Span::from(format!("{} failed", shown.failed));
    let failed = if shown.failed > 0 { failed.fg(Color::Red) } else { failed };
    let mut lines = vec![
        Line::from(format!(
            " {}, up {}, {} of {} workers, {:.0} % busy, {} replaced",
            plain(&shown.state),
            time(Some(shown.uptime)),
            shown.workers.iter().filter(|worker| worker.pid.is_some()).count(),
            shown.target,
            100.0 * busy,
            shown.restarts
        )),
        Line::from(vec![
            Span::from(format!(" {} tasks, {:.0}/s, ", shown.tasks, app.per_second)),
            failed,
            Span::from(format!(", {} run again, {} running, {} queued", shown.retried, shown.running, shown.queued)),
        ]),
        percentiles("ran   ", &shown.run),
        percentiles("waited", &shown.wait),
    ];
    if let Some(warning) = shown.warnings.first() {
        lines[0].push_span(Span::from(format!("  {}", plain(&warning.text))).fg(Color::Yellow));
    }
    lines
}

fn percentiles(name: &str, times: &Times) -> Line<'static> {
    let Times { p50, p90, p99, max } = times;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(|it| time(*it));
    Line::from(format!(" {name}  50 % {p50:>8}   90 % {p90:>8}   99 % {p99:>8}   longest {max:>8}"))
}

fn worker_table(app: &App) -> Table<'static> {
    let rows = app
        .shown
        .workers
        .iter()
        .enumerate()
        .map(|(place, worker)| worker_row(place, worker, app.busy.get(place).copied().unwrap_or_default()));
    let columns = [
        ("#", Number(3)),
        ("process", Text(9)),
        ("state", Text(8)),
        ("function", Rest),
        ("task", Number(8)),
        ("for", Number(8)),
        ("done", Number(5)),
        ("tasks", Number(8)),
        ("busy", Number(5)),
        ("memory", Number(8)),
        ("replaced", Number(8)),
    ];
    table(" workers ", columns, rows).row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

/// A table under a title; each column with its name.
fn table<const N: usize>(
    title: &'static str,
    columns: [(&'static str, Column); N],
    rows: impl Iterator<Item = ([String; N], Style)>,
) -> Table<'static> {
    let row = |cells: [String; N]| {
        Row::new(cells.into_iter().zip(columns).map(|(cell, (_, column))| match column {
            Number(_) => Line::from(cell).right_aligned(),
            Text(_) | Rest => Line::from(cell),
        }))
    };
    let width = |(_, column)| match column {
        Text(width) | Number(width) => Constraint::Length(width),
        Rest => Constraint::Fill(1),
    };
    Table::new(rows.map(|(cells, style)| row(cells).style(style)), columns.map(width))
        .column_spacing(2)
        .header(row(columns.map(|(name, _)| name.to_owned())).style(QUIET.add_modifier(Modifier::BOLD)))
        .block(Block::new().borders(Borders::TOP).border_style(QUIET).title(title))
}

fn worker_row(place: usize, worker: &Worker, busy: f64) -> ([String; 11], Style) {
    let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
    let pid = worker.host.as_ref().map_or(pid.clone(), |host| format!("{pid}@{}", plain(host)));
    let (function, task, since, done) = worker.at.as_ref().map_or_else(Default::default, |at| {
        let share = at
            .done
            .zip(at.of.filter(|of| *of > 0))
            .map(|(done, of)| format!("{:.0} %", 100.0 * done as f64 / of as f64));
        (plain(&at.function), at.task.to_string(), time(Some(at.since)), share.unwrap_or_default())
    });
    let memory = worker.memory.map(|bytes| format!("{:.1} M", bytes as f64 / f64::from(1 << 20))).unwrap_or_default();
    let busy = format!("{:.0} %", 100.0 * busy);
    let cells = [
        place.to_string(),
        pid,
        plain(&worker.state),
        function,
        task,
        since,
        done,
        worker.tasks.to_string(),
        busy,
        memory,
        worker.restarts.to_string(),
    ];
    let style = match worker.state.as_str() {
        "busy" => Style::new().fg(Color::Green),
        "starting" => Style::new().fg(Color::Yellow),
        "vacant" => QUIET,
        _ => Style::new(),
    };
    (cells, style)
}

/// The last calls, those under way first.
fn call_table(calls: &[Call]) -> Table<'static> {
    let row = |call: &Call| {
        let cells = [
            plain(&call.function),
            if call.ended { "ended" } else { "under way" }.to_owned(),
            call.tasks.to_string(),
            call.waiting.to_string(),
            time(Some(call.elapsed)),
            time(call.longest),
        ];
        (cells, if call.ended { QUIET } else { Style::new() })
    };
    // How many tasks there will be nobody knows: a call takes items from its input as workers need them.
    let columns = [
        ("function", Rest),
        ("", Text(10)),
        ("tasks", Number(10)),
        ("waiting", Number(10)),
        ("lasted", Number(9)),
        ("longest", Number(9)),
    ];
    table(" calls ", columns, calls.iter().rev().take(8).map(row))
}

fn footer(app: &App) -> Line<'static> {
    if !app.message.is_empty() {
        return Line::from(Span::from(format!(" {}", plain(&app.message))).fg(Color::Yellow));
    }
    Line::styled(
        " \u{2191}\u{2193} worker   \u{2190}\u{2192} pool   s stack   x end its task   + - workers   q quit",
        QUIET,
    )
}

/// What lies over the view.
fn over(frame: &mut Frame<'_>, app: &App) {
    match &app.over {
        Over::Nothing => {}
        Over::Stack { worker, text, from } => {
            let area = inset(frame.area(), 4, 2);
            let title = format!(" the stack of worker {worker}: any other key than up and down closes it ");
            let text = text.lines().map(plain).collect::<Vec<_>>().join("\n");
            frame.render_widget(Clear, area);
            frame.render_widget(Paragraph::new(text).scroll((*from, 0)).block(Block::bordered().title(title)), area);
        }
        Over::End { worker, pid, task, function } => {
            let area = inset(frame.area(), 10, frame.area().height.saturating_sub(6) / 2);
            let function = plain(function);
            let text = format!(
                "End task {task} of {function}, by killing worker {worker} (process {pid})?\n\ny: yes   any other key: no"
            );
            frame.render_widget(Clear, area);
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(Block::bordered()), area);
        }
    }
}

fn inset(area: Rect, columns: u16, rows: u16) -> Rect {
    let (width, height) = (area.width.saturating_sub(2 * columns), area.height.saturating_sub(2 * rows));
    Rect { x: area.x + columns.min(area.width), y: area.y + rows.min(area.height), width, height }
}

/// A time of a few letters.
pub(crate) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(it) if it < 0.001 => format!("{:.0} us", it * 1e6),
        Some(it) if it < 1.0 => format!("{:.1} ms", it * 1e3),
        Some(it) if it < 120.0 => format!("{it:.1} s"),
        Some(it) if it < 7200.0 => format!("{:.0} min", it / 60.0),
        Some(it) => format!("{:.1} h", it / 3600.0),
    }
}

/// Text of others, without what a terminal would act upon.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
