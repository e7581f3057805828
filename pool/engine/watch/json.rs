//! JSON that is written: some lines, where a crate would cost every program that uses this library.

use std::fmt::{self, Display, Write as _};

/// The inside of a string.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                letter if letter < ' ' => write!(f, "\\u{:04x}", letter as u32)?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// An object that is being written, one field after the other.
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn new() -> Object {
        Object { text: "{".to_owned() }
    }

    fn name(&mut self, name: &str) -> &mut String {
        let comma = if self.text.len() > 1 { "," } else { "" };
        // Writing to a `String` does not fail; the same below.
        let _ = write!(self.text, "{comma}\"{name}\":");
        &mut self.text
    }

    /// A number, `true` or `false`, as it is shown.
    pub(crate) fn plain(mut self, name: &str, value: impl Display) -> Object {
        let _ = write!(self.name(name), "{value}");
        self
    }

    /// A time in seconds.
    pub(crate) fn seconds(self, name: &str, time: std::time::Duration) -> Object {
        self.plain(name, format_args!("{:.6}", time.as_secs_f64()))
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Object {
        let _ = write!(self.name(name), "\"{}\"", Escaped(value));
        self
    }

    /// The field that `add` adds, if there is a value; otherwise `null`.
    pub(crate) fn maybe<T>(self, name: &str, value: Option<T>, add: impl FnOnce(Object, &str, T) -> Object) -> Object {
        match value {
            Some(value) => add(self, name, value),
            None => self.plain(name, "null"),
        }
    }

    pub(crate) fn object(mut self, name: &str, value: Object) -> Object {
        let value = value.end();
        self.name(name).push_str(&value);
        self
    }

    pub(crate) fn list(mut self, name: &str, values: impl Iterator<Item = Object>) -> Object {
        let text = self.name(name);
        text.push('[');
        for (at, value) in values.enumerate() {
            text.push_str(if at > 0 { "," } else { "" });
            text.push_str(&value.end());
        }
        text.push(']');
        self
    }

    /// The whole text.
    pub(crate) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_written_is_json() {
        let inner = |n: u32| Object::new().plain("n", n).text("text", "a \"b\"\\\n\u{1}\u{e9}");
        let text = Object::new()
            .plain("yes", true)
            .seconds("time", Duration::from_micros(1_500_000))
            .maybe("some", Some("x"), Object::text)
            .maybe("none", None::<&str>, Object::text)
            .object("empty", Object::new())
            .list("none of them", std::iter::empty())
            .list("all", (0..3).map(inner))
            .end();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["yes"], read["time"].as_f64(), &read["some"]), (&true.into(), Some(1.5), &"x".into()));
        assert!(read["none"].is_null() && read["empty"].as_object().unwrap().is_empty());
        assert_eq!((read["none of them"].as_array().unwrap().len(), read["all"].as_array().unwrap().len()), (0, 3));
        assert_eq!((&read["all"][2]["n"], &read["all"][2]["text"]), (&2.into(), &"a \"b\"\\\n\u{1}\u{e9}".into()));
    }
}
