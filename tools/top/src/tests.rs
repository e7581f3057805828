//! The view on a terminal that is none, of made-up pools and of a real one.

use crate::app::{App, Over, Place};
use crate::screen::{self, plain, time};
use crate::svg::svg;
use crate::wire::{Snapshot, folder};
use multiproc::{Event, Pool};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use std::time::{Duration, Instant};

const SNAPSHOT: &str = r#"{"state":"running","target":2,"uptime":10.0,"tasks":1000,"failed":2,"retried":1,"restarts":3,
 "queued":40,"running":1,"run":{"count":1000,"mean":0.01,"p50":0.0123,"p90":0.02,"p99":1.5,"max":2.5},
 "wait":{"count":0,"mean":null,"p50":null,"p90":null,"p99":null,"max":null},
 "workers":[{"state":"busy","pid":4242,"host":null,"tasks":700,"busy":9.0,"idle":1.0,"memory":1048576,"restarts":3,
   "at":{"function":"program::simulate","task":77,"for":3.25,"done":1,"of":4}},
  {"state":"vacant","pid":null,"host":null,"tasks":0,"busy":0.0,"idle":0.0,"memory":null,"restarts":0,"at":null}],
 "calls":[{"function":"program::simulate","ended":false,"tasks":60,"waiting":40,"busy":9.0,"elapsed":5.0,"longest":2.5}],
 "warnings":[{"text":"a warning"}],"of a later version":[1]}"#;

fn drawn(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(120, 24)).unwrap();
    terminal.draw(|frame| screen::draw(frame, app)).unwrap();
    terminal.backend().buffer().clone()
}

fn text_of(app: &App) -> String {
    let buffer = drawn(app);
    let row = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

fn app() -> App {
    let place = Place { path: "/x".into(), program: "program".into(), pid: 7, pool: 0, name: "worker".into() };
    let mut app = App::default();
    app.places = vec![place];
    app.take(serde_json::from_str(SNAPSHOT).unwrap(), Instant::now());
    app
}

#[test]
fn the_view_shows_a_pool() {
    let shown = text_of(&app());
    for text in [
        "program 7 \u{b7} worker",
        "running, up 10.0 s, 1 of 2 workers, 45 % busy, 3 replaced",
        "a warning",
        "1000 tasks, 100/s, 2 failed, 1 run again, 1 running, 40 queued",
        "50 %  12.3 ms",
        "99 %    1.5 s",
        "longest        -",
        "4242",
        "program::simulate",
        "77",
        "3.2 s",
        "25 %",
        "1.0 M",
        "90 %",
        "vacant",
        "60          40      5.0 s      2.5 s",
        "q quit",
    ] {
        assert!(shown.contains(text), "{text}:\n{shown}");
    }
}

#[test]
fn rates_are_those_since_the_looks_before() {
    let mut app = app();
    let mut next: Snapshot = serde_json::from_str(SNAPSHOT).unwrap();
    (next.tasks, next.workers[0].busy) = (1500, 9.5);
    app.take(next.clone(), Instant::now() + Duration::from_secs(1));
    assert!(
        (app.per_second - 500.0).abs() < 10.0 && (app.busy[0] - 0.5).abs() < 0.02,
        "{} {:?}",
        app.per_second,
        app.busy
    );
    // Another process at that place, and another pool.
    (next.workers[0].pid, next.workers[0].busy) = (Some(9), 0.5);
    app.take(next.clone(), Instant::now() + Duration::from_secs(2));
    assert!(app.busy[0] <= 0.3, "{:?}", app.busy);
    (next.tasks, next.uptime) = (10, 1.0);
    app.take(next, Instant::now() + Duration::from_secs(3));
    assert!((app.per_second - 10.0).abs() < 0.1, "{}", app.per_second);
}

#[test]
fn nothing_is_left_of_a_pool_that_has_gone() {
    let mut app = app();
    let other = Place { pool: 1, ..app.places[0].clone() };
    app.set_places(vec![other.clone(), app.places[0].clone()]);
    app.press(KeyCode::Down);
    app.press(KeyCode::Up);
    app.press(KeyCode::Char('x'));
    assert!(app.chosen == 1 && matches!(app.over, Over::End { .. }), "{app:?}");
    app.set_places(vec![other]);
    assert_eq!((app.chosen, app.worker, &app.over), (0, 0, &Over::Nothing));
    assert!(!text_of(&app).contains("program::simulate"));
    // The other one has run more in a longer time: nothing of that is news.
    let mut next: Snapshot = serde_json::from_str(SNAPSHOT).unwrap();
    (next.tasks, next.uptime) = (2000, 100.0);
    app.take(next, Instant::now() + Duration::from_secs(1));
    assert_eq!(app.per_second, 20.0);
}

#[test]
fn there_may_be_no_pool_and_no_room() {
    assert!(text_of(&App::default()).contains("MULTIPROC_VIEW=1"));
    let app = app();
    for (columns, rows) in [(1, 1), (10, 3), (80, 2), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| screen::draw(frame, &app)).unwrap();
    }
}

#[test]
fn text_of_others_does_nothing_to_a_terminal() {
    assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    assert_eq!([time(None), time(Some(12e-6)), time(Some(90.0)), time(Some(1e4))], ["-", "12 us", "90.0 s", "2.8 h"]);
}

#[test]
fn a_terminal_is_a_picture() {
    let mut app = app();
    app.shown.workers[0].at.as_mut().unwrap().function = "<a & b>".to_owned();
    let picture = svg(&drawn(&app));
    assert!(
        picture.starts_with("<svg ") && picture.ends_with("</svg>\n") && picture.contains("&lt;a &amp; b&gt;"),
        "{picture}"
    );
}

/// Looks again and again until `is_so`.
fn until(app: &mut App, is_so: impl Fn(&App) -> bool) {
    let start = Instant::now();
    loop {
        app.refresh(Instant::now());
        if is_so(app) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{}\n{app:?}", text_of(app));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn linger(begun: Event) {
    begun.set();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_real_pool_is_shown_and_obeys() {
    let pool = Pool::builder().processes(2).name("real").view().build().unwrap();
    assert!(folder().unwrap().is_dir());
    pool.map(|x: u64| x, 0..100).unwrap();
    let begun = Event::new();
    let result = pool.apply_async(linger, (begun.clone(),)).unwrap();
    assert!(begun.wait_timeout(Duration::from_secs(30)));
    let mut app = App::default();
    // Other programs of this user may have pools as well.
    let own = std::process::id().cast_signed();
    app.refresh(Instant::now());
    app.chosen = app.places.iter().position(|place| place.pid == own && place.name == "real").unwrap();
    until(&mut app, |app| app.shown.running == 1);
    let shown = text_of(&app);
    assert!(shown.contains("tests::linger") && shown.contains("100 tasks") && shown.contains("\u{b7} real"), "{shown}");

    // To the worker that is busy, and its stack.
    let busy = app.shown.workers.iter().position(|worker| worker.at.is_some()).unwrap();
    (0..5).for_each(|_| app.press(KeyCode::Up));
    (0..busy).for_each(|_| app.press(KeyCode::Down));
    app.press(KeyCode::Char('s'));
    let Over::Stack { text, .. } = &app.over else { panic!("{app:?}") };
    assert!(text.contains("linger"), "{text}");
    assert!(text_of(&app).contains("the stack of worker"));
    app.press(KeyCode::Esc);
    assert_eq!((&app.over, app.quit), (&Over::Nothing, false));

    // End its task: not without a yes.
    app.press(KeyCode::Char('x'));
    assert!(text_of(&app).contains("End task 0 of "), "{}", text_of(&app));
    app.press(KeyCode::Char('n'));
    assert!(!result.ready());
    app.press(KeyCode::Char('x'));
    app.press(KeyCode::Char('y'));
    assert!(app.message.contains("was ended"), "{}", app.message);
    assert!(result.get().unwrap_err().is_worker_lost());

    app.press(KeyCode::Char('+'));
    until(&mut app, |app| app.shown.workers.iter().filter(|worker| worker.state == "idle").count() == 3);
    assert_eq!((pool.processes(), app.shown.restarts), (3, 1));
    app.press(KeyCode::Char('x'));
    assert_eq!(app.message, "the worker runs no task");
    drop(pool);
    until(&mut app, |app| !app.places.iter().any(|place| place.pid == own));
    app.press(KeyCode::Char('q'));
    assert!(app.quit);
}
