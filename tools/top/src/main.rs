//! Shows the process pools of running programs of this user, live.
//!
//!     multiproc-top                # in a terminal
//!     multiproc-top --list         # which pools there are
//!     multiproc-top --svg FILE     # one look at the first pool, as a picture

mod app;
mod screen;
mod svg;
#[cfg(test)]
mod tests;
mod wire;

use app::App;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io;
use std::time::{Duration, Instant};

/// How often the pool is looked at.
const EVERY: Duration = Duration::from_millis(500);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let mut terminal = ratatui::try_init()?;
            let outcome = run(&mut terminal);
            ratatui::try_restore()?;
            outcome
        }
        ["--list"] => {
            for (_, program) in wire::programs()? {
                for pool in program.pools {
                    println!("{} {} {}", program.pid, screen::plain(&program.program), screen::plain(&pool.name));
                }
            }
            Ok(())
        }
        ["--svg", file] => std::fs::write(file, picture(110, 18)?),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: multiproc-top [--list | --svg FILE]")),
    }
}

/// Looks and draws until it is told to quit.
fn run(terminal: &mut ratatui::DefaultTerminal) -> io::Result<()> {
    let mut app = App::default();
    while !app.quit {
        let next = Instant::now() + EVERY;
        app.refresh(Instant::now());
        terminal.draw(|frame| screen::draw(frame, &app))?;
        while !app.quit && event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let is_break = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    app.press(if is_break { KeyCode::Char('q') } else { key.code });
                    app.quit |= is_break;
                }
                _ => {}
            }
            terminal.draw(|frame| screen::draw(frame, &app))?;
        }
    }
    Ok(())
}

/// The view of the first pool as a picture, after two looks.
fn picture(columns: u16, rows: u16) -> io::Result<String> {
    let mut app = App::default();
    app.refresh(Instant::now());
    std::thread::sleep(EVERY);
    app.refresh(Instant::now());
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).map_err(io::Error::other)?;
    terminal.draw(|frame| screen::draw(frame, &app)).map_err(io::Error::other)?;
    Ok(svg::svg(terminal.backend().buffer()))
}
