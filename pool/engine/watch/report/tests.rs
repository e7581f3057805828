//! What a report keeps is bounded, and its page is whole whatever is in it.

use super::*;
use crate::error::{Exit, Failure, Panic, TaskKind};

fn report(path: &Path) -> Report {
    Report::create(path, "<b>worker</b>").unwrap()
}

fn page_of(report: Report, path: &Path) -> String {
    let (run_times, wait_times) = (Histogram::new(), Histogram::new());
    let totals =
        Totals { tasks: 3, failed: 1, retried: 0, restarts: 0, run_times: &run_times, wait_times: &wait_times };
    report.finish(&totals);
    let page = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    page
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("multiproc-report-{name}-{}.html", std::process::id()))
}

fn panicked(message: &str, location: &str) -> TaskError {
    let panic = Panic { message: message.to_owned(), location: Some(location.to_owned()), backtrace: None };
    TaskError::new(Failure::Panicked(panic).into(), "f", 7, Some(1))
}

#[test]
fn failures_of_one_cause_are_one_and_others_are_counted() {
    let path = path("causes");
    let mut report = report(&path);
    (0..1000).for_each(|n| report.failed("f", &panicked(&format!("no {n}"), "a.rs:1:1")));
    report.failed("g", &panicked("no", "a.rs:1:1"));
    for exit in [Exit::Signal(9), Exit::Signal(9), Exit::Code(3)] {
        let lost =
            TaskKind::WorkerLost { death: exit.into(), reason: None, memory: None, is_drained: false, output: None };
        report.failed("f", &TaskError::new(lost, "f", 1, Some(5)));
    }
    assert_eq!(report.causes.iter().map(|it| it.count).collect::<Vec<_>>(), [1000, 1, 2, 1]);
    (0..100).for_each(|n| report.failed("f", &panicked("no", &format!("b.rs:{n}:1"))));
    assert_eq!((report.causes.len(), report.other_failures), (CAUSES, 100 - (CAUSES as u64 - 4)));
    let page = page_of(report, &path);
    assert!(page.contains("1000 times, first task 7") && page.contains("panicked at a.rs:1:1: no 0"), "{page}");
    assert!(page.contains("was killed by signal 9 (SIGKILL)") && page.contains("failures of other causes"));
}

#[test]
fn the_slowest_are_kept_in_order_and_functions_are_bounded() {
    let path = path("slowest");
    let mut report = report(&path);
    let names: Vec<&'static str> = (0..200).map(|n| &*Box::leak(format!("f{n}").into_boxed_str())).collect();
    for (n, function) in (0..1000u64).zip(names.iter().cycle()) {
        // In an order that is none: 7 has no factor in common with 1000.
        let lasted = Duration::from_millis(n * 7 % 1000);
        let start = report.start + Duration::from_secs(n);
        let place = usize::try_from(n).unwrap();
        report.ran(&Ran { place, pid: Some(1), function, first: n, count: 1, start, lasted, lost: false });
    }
    let times: Vec<u128> = report.slowest.iter().map(|slow| slow.time.as_millis()).collect();
    assert_eq!(times, (980..1000).rev().collect::<Vec<_>>());
    assert_eq!((report.functions.all.len(), report.rows.len()), (FUNCTIONS + 1, ROWS));
    assert_eq!(report.functions.all.iter().map(|it| it.tasks).sum::<u64>(), 1000);
    drop(page_of(report, &path));
}

#[test]
fn text_of_tasks_is_text_and_short() {
    let path = path("text");
    let mut report = report(&path);
    let start = report.start;
    let function = "<script>alert(1)</script>\"'&";
    report.ran(&Ran {
        place: 0,
        pid: None,
        function,
        first: 0,
        count: 1,
        start,
        lasted: Duration::from_millis(1),
        lost: false,
    });
    report.failed(function, &panicked(&"</pre><script>\u{e9}".repeat(100_000), "x"));
    let page = page_of(report, &path);
    assert!(!page.contains("<script>") && !page.contains("<b>worker</b>") && page.len() < 100_000, "{}", page.len());
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;\u{e9}") && page.contains("&lt;b&gt;worker&lt;/b&gt;"));
    assert!(page.ends_with("</html>\n") && !page.contains("://") && !page.contains("src=") && !page.contains("url("));
}

#[test]
fn a_text_that_is_long_ends_between_letters() {
    assert_eq!(brief(&"abc"), "abc");
    let short = brief(&"\u{20ac}".repeat(TEXT));
    assert!(short.len() <= TEXT + 3 && short.ends_with("\u{20ac} .."), "{}", short.len());
}

#[test]
fn dates_are_those_of_the_calendar() {
    let at = |seconds: u64| page::date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
    assert_eq!(at(4_102_444_799), "2099-12-31 23:59:59 UTC");
    assert_eq!(at(1_709_210_096), "2024-02-29 12:34:56 UTC");
}
