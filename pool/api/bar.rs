//! A progress bar, by the crate `indicatif`.

use crate::engine::call::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Draws what it is told.
pub(super) fn listener() -> impl Fn(Progress) + Send + Sync + 'static {
    let bar = ProgressBar::no_length();
    move |progress| draw(&bar, progress)
}

fn draw(bar: &ProgressBar, Progress { done, failed, total }: Progress) {
    let template = match total {
        Some(_) => "{wide_bar} {pos}/{len} {msg} {eta}",
        None => "{spinner} {pos} {msg} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Some(total) = total {
        bar.set_length(total);
    }
    if failed > 0 {
        bar.set_message(format!("({failed} failed)"));
    }
    bar.set_position(done);
    if total == Some(done) {
        bar.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, failed: u64, total: Option<u64>) -> Progress {
        Progress { done, failed, total }
    }

    #[test]
    fn a_bar_follows_its_call() {
        let bar = ProgressBar::hidden();
        draw(&bar, progress(3, 0, None));
        assert_eq!((bar.position(), bar.length(), bar.is_finished()), (3, None, false));
        draw(&bar, progress(5, 1, Some(9)));
        assert_eq!((bar.position(), bar.length(), bar.message().as_str()), (5, Some(9), "(1 failed)"));
        draw(&bar, progress(9, 1, Some(9)));
        assert!(bar.is_finished());
    }
}
