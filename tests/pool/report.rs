//! The page that a pool writes at its end, also as a browser shows it.

use super::common::links::on_each_link;
use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::Pool;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

fn read(path: &Path) -> String {
    let page = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    page
}

fn steps(x: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(x % 5));
    match x {
        17 | 18 => panic!("<b>no {x}</b>"),
        70 => std::process::abort(),
        _ => x,
    }
}

/// The text of the cells of the row that begins with the given text.
fn row(page: &str, begins: &str) -> Vec<String> {
    let rows = page.split("<tr>").map(|row| row.split("<td").skip(1).map(|it| strip(it.split_once('>').unwrap().1)));
    let rows = rows.map(Iterator::collect::<Vec<String>>);
    rows.into_iter().find(|row| row.first().is_some_and(|it| it.contains(begins))).unwrap_or_default()
}

/// Without marks.
fn strip(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for letter in html.chars() {
        match letter {
            '<' => inside = true,
            '>' => inside = false,
            _ if !inside => text.push(letter),
            _ => {}
        }
    }
    text.trim().to_owned()
}

#[test]
fn a_report_tells_what_has_happened() {
    on_each_link(60, |builder| {
        let path = path("report.html");
        let pool = builder().processes(2).report_to(&path).build().unwrap();
        pool.tasks(steps, 0..100).chunksize(5).each();
        pool.apply(|| std::thread::sleep(Duration::from_millis(150)), ()).unwrap();
        let before = pool.stats();
        assert!(eventually(Duration::from_secs(20), || pool.worker_pids().len() == 2));
        assert!(before.wait_times.count() >= 90, "{:?}", before.wait_times);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "the page comes at the end");
        pool.close();
        pool.join().unwrap();
        let page = read(&path);
        drop(pool);
        assert!(!path.exists(), "it is written once");
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert!(page.contains("text-anchor=\"start\">0</text>"), "the time of the beginning has no unit: {page}");
        for figure in ["<b>101</b>", "<b class=\"bad\">3</b>", "<b class=\"bad\">1</b>"] {
            assert!(page.contains(figure), "{figure}: {page}");
        }
        // What was done of the frame of the crash is answered, but that frame has not ended.
        let calls = row(&page, "report::steps");
        assert_eq!((&*calls[1], &*calls[3]), ("1", "3"), "{calls:?}");
        assert!((95..=99).contains(&calls[2].parse::<u64>().unwrap()), "{calls:?}");
        let slow = page.split("Slowest tasks").nth(1).unwrap();
        let longest: Vec<&str> = slow.split("<tr>").filter(|row| row.contains("a_report_tells")).collect();
        assert_eq!(longest.len(), 1, "one of the longest is the one that has slept: {slow}");
        let (run, waited) = (row(&page, "ran"), row(&page, "waited"));
        assert!(run[1].parse::<u64>().unwrap() >= 96 && waited[1].parse::<u64>().unwrap() >= 90, "{run:?} {waited:?}");
        assert!(page.contains("2 times, first task 17") || page.contains("2 times, first task 18"), "{page}");
        assert!(page.contains("&lt;b&gt;no 1") && !page.contains("<b>no 1"), "{page}");
        assert!(page.contains("was killed by signal 6 (SIGABRT)"), "{page}");
        assert!(page.contains("Workers that died") && page.matches("<li>").count() == 1, "{page}");
        #[cfg(feature = "backtrace")]
        assert!(page.contains("The calls that led there") && page.contains("report::steps"), "{page}");
        // Nothing is loaded, and nothing runs.
        for mark in ["://", "src=", "href=", "url(", "<script", "@import", "onload"] {
            assert!(!page.contains(mark), "{mark}");
        }
    });
}

#[test]
fn a_report_is_written_by_whatever_ends_the_pool() {
    let _watchdog = watchdog(60);
    let path = path("report-ends.html");
    let ends: [fn(Pool); 4] = [
        drop,
        |pool| {
            pool.terminate();
            pool.join().unwrap();
        },
        |pool| assert!(pool.drain(Duration::from_secs(20))),
        |pool| {
            pool.close();
            assert!(eventually(Duration::from_secs(20), || pool.join_timeout(Duration::from_millis(10)).is_some()));
        },
    ];
    for end in ends {
        let pool = Pool::builder().processes(1).report_to(&path).build().unwrap();
        pool.map(|x: u64| x, 0..10).unwrap();
        end(pool);
        assert!(read(&path).contains("<b>10</b>"));
    }
    let pool = Pool::builder().inline().report_to(&path).build().unwrap();
    pool.map(|x: u64| x, 0..10).unwrap();
    drop(pool);
    assert!(row(&read(&path), "{{closure}}")[2] == "10");
    let pool = Pool::builder().processes(2).report_to(&path).build_threads().unwrap();
    pool.map(|x: u64| x, 0..10).unwrap();
    drop(pool);
    assert!(read(&path).contains("<b>10</b>"));
    assert!(Pool::builder().processes(1).report_to("/no such folder/run.html").build().is_err());
}

#[test]
fn a_pool_that_nobody_watches_counts_no_waits() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    pool.map(|x: u64| x, 0..10).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.wait_times.count(), stats.run_times.count()), (0, 10));
}

#[test]
fn tasks_wait_for_as_long_as_others_run() {
    on_each_link(60, |builder| {
        let path = path("report-waits.html");
        let pool = builder().processes(1).report_to(&path).build().unwrap();
        let nap = |_: u64| std::thread::sleep(Duration::from_millis(50));
        pool.tasks(nap, 0..4).chunksize(1).submit().unwrap().get().unwrap();
        let waits = pool.stats().wait_times;
        assert_eq!(waits.count(), 4);
        // 0, 50, 100 and 150 ms, and more where the machine is busy. A begin is known to 10 ms.
        assert!(waits.total() >= Duration::from_millis(260), "{waits:?}");
        assert!(waits.quantile(1.0).unwrap() >= Duration::from_millis(140), "{waits:?}");
        drop(pool);
        read(&path);
    });
}

/// A browser that can be asked for the page as it is shown, and for a picture.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success()))
}

#[test]
fn a_browser_shows_a_report() {
    let Some(browser) = browser() else {
        eprintln!("left out: there is no chromium");
        return;
    };
    let _watchdog = watchdog(180);
    let path = path("report-browser.html");
    let pool = Pool::builder().processes(3).report_to(&path).build().unwrap();
    pool.tasks(steps, 0..100).chunksize(1).each();
    drop(pool);
    let profile = self::path("browser");
    let picture = profile.join("report.png");
    let show = |what: &[&str]| {
        let mut command = Command::new(browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600"]);
        command.args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr"]);
        command.arg(format!("--user-data-dir={}", profile.display())).args(what);
        let shown = command.arg(format!("file://{}", path.display())).output().unwrap();
        let log = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success(), "{log}");
        // There the browser says what it has refused to run or to load, and what has failed.
        assert!(!log.contains("CONSOLE"), "{log}");
        shown.stdout
    };
    // What the browser has understood: no mark was left open, and no text has become one.
    let shown = String::from_utf8(show(&["--dump-dom"])).unwrap();
    for (mark, count) in [("<h1", 1), ("<h2", 6), ("</svg>", 3), ("<table", 3), ("<ul", 1)] {
        assert!(shown.matches(mark).count() >= count, "{mark}: {shown}");
    }
    for heading in ["Timeline", "Times", "Calls", "Slowest tasks", "Failures", "Workers that died"] {
        assert!(shown.contains(&format!("<h2>{heading}</h2>")), "{heading}: {shown}");
    }
    assert!(shown.contains("&lt;b&gt;no 1") && shown.matches("worker 2").count() >= 1, "{shown}");
    let mut pictures = Vec::new();
    for dark in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        show(&[dark, &format!("--screenshot={}", picture.display())]);
        pictures.push(std::fs::read(&picture).unwrap());
    }
    assert!(pictures.iter().all(|it| it.starts_with(b"\x89PNG") && it.len() > 10_000), "a picture of nothing");
    assert!(pictures[0] != pictures[1], "it is light, and dark");
    std::fs::remove_file(&path).unwrap();
    let _ = std::fs::remove_dir_all(profile);
}
