//! Whatever a worker says: it is understood, or not heard.

use crate::codec;
use crate::engine::watch::tracing::sites::Site;
use crate::engine::watch::tracing::spans::Spans;
use crate::engine::watch::tracing::values::Values;
use crate::engine::watch::tracing::{Parent, Task, Told};
use crate::ipc::control::Control;
use crate::sys::fuzz::{Random, fuzz, within};
use std::fmt;
use tracing_core::field::{Field, Visit};

/// Reads everything.
struct Reads(usize);

impl Visit for Reads {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0 += format!("{value:?}").len();
    }
}

fn values(random: &mut Random) -> Values {
    (0..random.number() % 5).fold(Values::default(), |values, _| {
        let (at, text) = (random.number() as u8 % 8, random.text(20));
        if random.once_in(2) { values.and(at, random.number()) } else { values.and(at, &*text) }
    })
}

fn told(random: &mut Random) -> Told {
    let [span, other] = [random.number() % 4, random.number() % 4];
    let parent = match random.number() % 3 {
        0 => Parent::Nothing,
        1 => Parent::Worker,
        _ => Parent::Span(other),
    };
    let site = random.number() as u32 % 4;
    match random.number() % 8 {
        0 => Told::Begun { pid: random.number() as u32 },
        1 => {
            let fields: Vec<String> = (0..random.number() % 40).map(|_| random.text(3)).collect();
            let fields: Vec<&str> = fields.iter().map(|field| &**field).collect();
            let level = random.number() as u8 % 7;
            Told::Site { number: site, site: Site { level, is_span: random.once_in(2), ..Site::own("a", &fields) } }
        }
        2 => {
            let (function, index, attempt) = (random.text(9), random.number(), random.number() as u32);
            Told::Task(Task { span, call: random.once_in(2).then_some(other), function, index, attempt })
        }
        3 => Told::Span { span, site, parent, values: values(random) },
        4 => Told::Values { span, values: values(random) },
        5 => Told::Follows { span, before: other },
        6 => Told::Closed { span },
        _ => Told::Event { site, parent, values: values(random) },
    }
}

#[test]
fn whatever_a_worker_says() {
    let meta = Site { level: 3, ..Site::own("some", &["a", "b", "c"]) }.make().unwrap();
    let start = || (Control::pair(), Spans::new("worker".into()));
    fuzz(start, |((ours, theirs), spans), random| {
        let mut bytes = codec::to_bytes(&told(random));
        random.spoil(&mut bytes);
        theirs.send_as_message(&bytes, &[]);
        let most = 32 * bytes.len() + 16_384;
        let Ok(Some((told, _))) = within(most, &bytes, || ours.receive::<Told>(false)) else { return };
        if let Told::Event { values, .. } | Told::Span { values, .. } | Told::Values { values, .. } = &told {
            within(most, &bytes, || values.show(meta, |values| values.record(&mut Reads(0))));
        }
        within(most, &bytes, || spans.take(told));
    });
}

#[test]
fn callsites_that_can_be_none_are_none() {
    let names: Vec<String> = (0..33).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    assert!(Site::own("many", &names).make().is_none());
    assert!([0, 6, 255].into_iter().all(|level| Site { level, ..Site::own("level", &[]) }.make().is_none()));
    let made = || Site::own("again", &["x"]).make().unwrap();
    assert!(std::ptr::eq(made(), made()));
    assert!(Site { name: "x".repeat(17 << 20), ..Site::own("long", &[]) }.make().is_none());
}
