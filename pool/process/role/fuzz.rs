//! The environment variable that makes a process a child, with any value.

use super::*;
use crate::sys::fuzz::{fuzz, within};

#[test]
fn only_the_text_of_a_mark_is_a_mark() {
    fuzz(
        || (),
        |(), random| {
            let mark =
                Mark { parent: random.number() as i32, strays: random.number() as u32, ..Mark::new(random.number()) };
            let mut bytes = mark.to_string().into_bytes();
            random.spoil(&mut bytes);
            let text = if random.once_in(20) { random.text(40) } else { String::from_utf8_lossy(&bytes).into_owned() };
            let Some(read) = within(0, &text, || Mark::parse(&text)) else { return };
            assert_eq!(read.copy, this_copy());
            assert!(text.starts_with("2:") && text.ends_with(":fd:0") && text.split(':').count() == 7, "{text}");
            assert_eq!(Mark::parse(&read.to_string()), Some(read));
            // Numbers have some spellings: `+1`, `01`.
            assert!(
                text == read.to_string() || text.len() >= read.to_string().len() || text.contains(['+', '0']),
                "{text}"
            );
        },
    );
}
