//! Callsites of workers, made again in this process.

use crate::engine::watch::outlet::{Level, cut};
use crate::engine::watch::tracing::values::MOST_FIELDS;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::OnceLock;
use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::Kind;
use tracing_core::{Interest, Metadata};

pub(super) const LEVELS: [tracing_core::Level; 5] = [
    tracing_core::Level::ERROR,
    tracing_core::Level::WARN,
    tracing_core::Level::INFO,
    tracing_core::Level::DEBUG,
    tracing_core::Level::TRACE,
];

/// So many bytes of a name travel.
const LONGEST_NAME: usize = 1024;

/// So many bytes may all callsites have that are made here: they stay for ever, as `tracing` wants it. That is room for some
/// 20,000 of them.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// What there is to say of a callsite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(super) is_span: bool,
    pub(super) level: Level,
    pub(super) name: String,
    pub(super) target: String,
    pub(super) module: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) fields: Vec<String>,
}

/// A callsite that was made here.
#[derive(Debug)]
struct Made(OnceLock<Metadata<'static>>);

impl Callsite for Made {
    // Who hands an event on asks for each.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        // It is registered when it has them.
        self.0.get().expect("a callsite without a description")
    }
}

impl Site {
    /// That of a callsite of this process.
    pub(super) fn of(meta: &Metadata<'_>) -> Site {
        let name = |text: &str| cut(text, LONGEST_NAME).to_owned();
        Site {
            is_span: meta.is_span(),
            level: LEVELS.iter().position(|it| it == meta.level()).map_or(0, |at| at as Level + 1),
            name: name(meta.name()),
            target: name(meta.target()),
            module: meta.module_path().map(name),
            file: meta.file().map(name),
            line: meta.line(),
            fields: meta.fields().iter().take(MOST_FIELDS).map(|field| name(field.name())).collect(),
        }
    }

    /// Of a span of the library's own.
    pub(super) fn own(name: &str, fields: &[&str]) -> Site {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        let (name, target, module) = (name.to_owned(), "multiproc".to_owned(), Some("multiproc".to_owned()));
        Site { is_span: true, level: 3, name, target, module, fields, ..Site::default() }
    }

    pub(super) fn len(&self) -> usize {
        let texts = [Some(&self.name), Some(&self.target), self.module.as_ref(), self.file.as_ref()];
        let texts = texts.into_iter().flatten().chain(&self.fields);
        texts.map(|text| text.len() + size_of::<&str>()).sum::<usize>() + size_of::<(Site, Made)>()
    }

    /// The description of a callsite like it, which is made if there is none yet; `None` if it can be none, or if there are too
    /// many. Asks subscribers, which is code of the user's.
    pub(super) fn make(self) -> Option<&'static Metadata<'static>> {
        static MADE: Mutex<(usize, Option<HashMap<Site, &'static Metadata<'static>>>)> = Mutex::new((0, None));
        let level = *LEVELS.get(usize::from(self.level).checked_sub(1)?)?;
        let mut made = MADE.lock();
        let (bytes, sites) = &mut *made;
        let sites = sites.get_or_insert_with(HashMap::new);
        if let Some(meta) = sites.get(&self) {
            return Some(meta);
        }
        if *bytes + self.len() > MOST_BYTES || self.fields.len() > MOST_FIELDS {
            return None;
        }
        *bytes += self.len();
        let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
        let site: &'static Made = Box::leak(Box::new(Made(OnceLock::new())));
        let fields: Vec<&'static str> = self.fields.iter().map(|field| leak(field)).collect();
        let fields = FieldSet::new(Box::leak(fields.into()), Identifier(site));
        let kind = if self.is_span { Kind::SPAN } else { Kind::EVENT };
        let [module, file] = [&self.module, &self.file].map(|text| text.as_deref().map(leak));
        let (name, target) = (leak(&self.name), leak(&self.target));
        let meta = site.0.get_or_init(|| Metadata::new(name, target, level, file, self.line, module, fields, kind));
        sites.insert(self, meta);
        drop(made);
        callsite::register(site);
        Some(meta)
    }
}
