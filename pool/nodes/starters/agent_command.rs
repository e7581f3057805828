//! What is run on a node: this program, with what makes it an agent.

use crate::engine::launch::spawn::{Environment, Variables};
use crate::error::Error;
use crate::process::enlist::VARIABLE;
use std::ffi::OsStr;

/// What every agent of a starter is told, whatever starts it.
#[derive(Clone, Debug, Default)]
pub(super) struct AgentCommand {
    /// How many workers it takes, if not as many as it has CPUs.
    pub(super) workers: Option<usize>,
    pub(super) env: Variables,
}

impl AgentCommand {
    /// The simple command of `sh` that is an agent which is called with `call`. `program` is a word of `sh` already.
    ///
    /// # Errors
    ///
    /// Something in it cannot be written as a command.
    pub(super) fn line(&self, call: &str, program: &str) -> Result<String, Error> {
        Environment::new(self.env.clone(), None)?;
        let mut words = vec!["env".to_owned(), format!("{VARIABLE}={}", quoted(call))];
        for (key, value) in &self.env {
            words.push(format!("{}={}", word(key)?, word(value)?));
        }
        words.push(program.to_owned());
        for argument in std::env::args_os().skip(1) {
            words.push(word(&argument)?);
        }
        Ok(words.join(" "))
    }
}

/// The text as one word of `sh`.
///
/// # Errors
///
/// It is no UTF-8.
pub(super) fn word(text: &OsStr) -> Result<String, Error> {
    let no_text = || Error::start(format!("{text:?} is no UTF-8, so that it cannot be part of a command"));
    text.to_str().map(quoted).ok_or_else(no_text)
}

/// The text as one word of `sh`.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_words_as_they_were() {
        for text in ["", "a b", "it's", "$HOME `x` \"y\" \\", "a\nb", "a;b&c|d"] {
            let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output().unwrap();
            assert_eq!(output.stdout, text.as_bytes());
        }
    }
}
