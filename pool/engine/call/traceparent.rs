//! Which trace a call belongs to: the W3C header `traceparent`.

use std::fmt;
use std::sync::Arc;

/// Says which trace the calls of a thread belong to at the moment.
#[derive(Clone)]
pub(crate) struct TraceSource(pub(crate) Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource(..)")
    }
}

/// Whether a text is a `traceparent` as the W3C has it: version, trace, parent and flags, in lower-case hexadecimal digits.
pub(super) fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_id = |part: &str, len: usize| is_hex(part, len) && part.bytes().any(|byte| byte != b'0');
    match &parts[..] {
        [version, trace, parent, flags, rest @ ..] => {
            // A later version may have more behind it.
            let is_known =
                *version == "00" && rest.is_empty() || is_hex(version, 2) && *version > "00" && *version < "ff";
            is_known && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2) && text.len() <= 256
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_allows() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = [format!("00-{trace}-{parent}-01"), format!("cc-{trace}-{parent}-00-what-comes-later")];
        assert!(good.iter().all(|text| is_valid(text)));
        let bad = [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-"),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}-{parent}-1"),
            format!("01-{trace}-{parent}-01-{}", "x".repeat(256)),
        ];
        assert!(!bad.iter().any(|text| is_valid(text)));
    }
}
