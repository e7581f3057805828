//! What is code in a file, and what its words are.

/// The text with comments and the insides of strings blanked; lines stay where they are.
pub(crate) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    // Passes over `count` characters, keeping only what lines are made of.
    let blank = |code: &mut String, at: &mut usize, count: usize| {
        for &letter in &chars[*at..(*at + count).min(chars.len())] {
            code.push(if letter == '\n' { '\n' } else { ' ' });
        }
        *at = (*at + count).min(chars.len());
    };
    // Where the first of `end` is, counted from `from`.
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let place = chars[from.min(chars.len())..].windows(end.len()).position(|it| it == end);
        place.map_or(chars.len(), |place| from + place + end.len())
    };
    while at < chars.len() {
        let next = |offset: usize| chars.get(at + offset).copied().unwrap_or(' ');
        let after_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let end = match (chars[at], next(1)) {
            ('/', '/') => find(at, "\n") - 1,
            ('/', '*') => find(at, "*/"),
            ('r', '"' | '#') if !after_name => {
                let hashes = chars[at + 1..].iter().take_while(|letter| **letter == '#').count();
                if next(1 + hashes) == '"' { find(at + hashes + 2, &format!("\"{}", "#".repeat(hashes))) } else { at }
            }
            ('"', _) => {
                let mut end = at + 1;
                while end < chars.len() && chars[end] != '"' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                end + 1
            }
            // A character, not a lifetime.
            ('\'', '\\') => find(at + 3, "'"),
            ('\'', _) if next(2) == '\'' => at + 3,
            _ => at,
        };
        if end > at {
            let count = end - at;
            blank(&mut code, &mut at, count);
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

pub(crate) fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `word` occurs in the line as a word of its own.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

/// The name at the start of the text.
pub(crate) fn head(text: &str) -> String {
    text.chars().take_while(|letter| is_name(*letter)).collect()
}
