//! The files of the repository, as the rules read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct Source {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Its lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The first folder below `pool/`, or the file if it stands there itself.
    pub(crate) fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("pool/")?;
        Some(inside.split(['/', '.']).next().unwrap_or(inside))
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below the given folders and files, in the order of their paths.
pub(crate) fn sources(places: &[&str], extensions: &[&str]) -> Vec<Source> {
    fn walk(path: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), extensions, found);
            }
        } else if path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted)) {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    places.iter().for_each(|place| walk(&root().join(place), extensions, &mut found));
    found.retain(|path| !path.strip_prefix(root()).unwrap().components().any(|part| part.as_os_str() == "target"));
    found.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/"),
    };
    found.into_iter().map(read).collect()
}

pub(crate) fn library() -> Vec<Source> {
    let library = sources(&["pool"], &["rs"]);
    assert!(library.len() > 20, "the library's files were not found");
    library
}

/// The Markdown documents of the repository.
pub(crate) fn documents() -> Vec<Source> {
    sources(&["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "pool"], &["md"])
}

/// The name of each example, and its source: `examples/NAME.rs` or `examples/NAME/main.rs`.
pub(crate) fn examples() -> BTreeMap<String, Source> {
    let mut examples = BTreeMap::new();
    for source in sources(&["examples"], &["rs"]) {
        let inside = source.path.trim_start_matches("examples/").trim_end_matches(".rs");
        let name = match inside.split_once('/') {
            None => inside.to_owned(),
            Some((folder, "main")) => folder.to_owned(),
            Some(_) => continue,
        };
        examples.insert(name, source);
    }
    assert!(examples.contains_key("hello"), "the examples were not found");
    examples
}

/// Fails with all complaints at once, if there are any.
pub(crate) fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n  {}\n", complaints.len(), complaints.join("\n  "));
}
