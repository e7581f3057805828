//! Texts of pickle's oldest protocol: lines of Latin-1 with `\uXXXX` for the rest, Python's `raw_unicode_escape`.

use super::failure::Failure;

/// The text that such a line stands for.
pub(super) fn decode(line: &[u8]) -> Result<String, Failure> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = match rest {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            _ => {
                text.push(char::from(byte));
                rest = behind;
                continue;
            }
        };
        let number = rest.get(2..2 + digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let letter = number.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        text.push(letter.ok_or_else(|| Failure::new("a text has an escape that is no letter"))?);
        rest = &rest[2 + digits..];
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_latin_1_are_read() {
        assert_eq!(decode(b"a\xe9\\u20ac\\U0001f600\\n").unwrap(), "a\u{e9}\u{20ac}\u{1f600}\\n");
        for bad in [&b"\\u20a"[..], b"\\ud800", b"\\U00110000", b"\\u+123"] {
            decode(bad).unwrap_err();
        }
    }
}
