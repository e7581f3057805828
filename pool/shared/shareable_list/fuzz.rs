//! Lists as Python writes them, and what is left of them when somebody has written over the memory.

use super::*;
use crate::sys::fuzz::{Random, fuzz, within};

const SIZE: usize = 4096;

fn item(random: &mut Random) -> Item {
    match random.below(6) {
        0 => Item::None,
        1 => Item::Bool(random.once_in(2)),
        2 => Item::Int(random.number() as i64),
        3 => Item::Float(random.number() as f64),
        // Python counts letters where it should count bytes.
        4 => Item::Str((0..random.below(20)).map(|_| *random.pick(&['a', 'Z', ' ', '0'])).collect()),
        // It takes NULs at the end away.
        _ => Item::Bytes([random.bytes(20), vec![7]].concat()),
    }
}

/// What `multiprocessing.shared_memory.ShareableList` makes of these items, byte for byte.
fn python(items: &[Item]) -> Vec<u8> {
    let (mut offsets, mut data, mut formats, mut codes) = (vec![0u64], Vec::new(), Vec::new(), Vec::new());
    for item in items {
        let (bytes, format, code) = match item {
            Item::None => (vec![0; 8], "xxxxxx?x".to_owned(), 3),
            Item::Bool(value) => (vec![0, 0, 0, 0, 0, 0, 0, u8::from(*value)], "xxxxxxx?".to_owned(), 0),
            Item::Int(value) => (value.to_ne_bytes().to_vec(), "q".to_owned(), 0),
            Item::Float(value) => (value.to_ne_bytes().to_vec(), "d".to_owned(), 0),
            Item::Str(text) => (text.clone().into_bytes(), format!("{}s", 8 * (text.len() / 8 + 1)), 1),
            Item::Bytes(bytes) => (bytes.clone(), format!("{}s", 8 * (bytes.len() / 8 + 1)), 2),
        };
        let len = 8 * (bytes.len() / 8 + usize::from(format.ends_with('s'))).max(1);
        data.extend(&bytes);
        data.resize(data.len() + len - bytes.len(), 0);
        offsets.push(data.len() as u64);
        let mut format = format.into_bytes();
        format.resize(8, 0);
        formats.extend(format);
        codes.push(code);
    }
    let offsets = offsets.iter().flat_map(|it| it.to_ne_bytes());
    (items.len() as u64).to_ne_bytes().into_iter().chain(offsets).chain(data).chain(formats).chain(codes).collect()
}

/// Everything that can be done with a list.
fn use_all(list: &ShareableList, random: &mut Random) {
    for at in 0..list.len() + 1 {
        let is_there = at < list.len();
        match list.get(at) {
            Ok(item) => {
                let (_, slot) = list.slot(at, "").unwrap();
                assert!(content(&item).is_none_or(|bytes| bytes.len() <= slot), "an item that is longer than its slot");
            }
            Err(error) => assert_eq!(error.is_invalid_argument(), !is_there),
        }
    }
    let wanted = item(random);
    let (count, index) = (list.count(wanted.clone()), list.index(wanted.clone()));
    assert!(count.is_err() || index.is_ok_and(|it| it.is_some() == count.is_ok_and(|count| count > 0)));
    let _ = (list.format(), list.to_vec(), format!("{list:?}"));
    let at = random.below(list.len() + 1);
    if list.set(at, wanted.clone()).is_ok() {
        assert_eq!(list.get(at).unwrap(), wanted);
    }
}

/// Changes a few places of a list, and now and then the length in a format.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    random.spoil(bytes);
    let formats: Vec<usize> =
        (1..bytes.len()).filter(|at| bytes[*at] == b's' && bytes[at - 1].is_ascii_digit()).collect();
    if random.once_in(4) && !formats.is_empty() {
        let at = *random.pick(&formats);
        bytes[at - 1] = b'9';
        let len = 2.min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&b"9s"[..len]);
    }
}

#[test]
fn a_list_of_python_is_read_whatever_has_become_of_it() {
    let memory = || SharedMemory::anonymous(SIZE).unwrap();
    fuzz(memory, |memory, random| {
        let items: Vec<Item> = (0..random.below(5)).map(|_| item(random)).collect();
        let written = python(&items);
        let mut bytes = written.clone();
        // Before it is opened, or after that.
        let is_late = random.once_in(2);
        if !is_late {
            spoil(&mut bytes, random);
        }
        bytes.resize(SIZE, 0);
        memory.write(0, &bytes);
        let list = within(8192, &bytes, || ShareableList::of(memory.clone()));
        if bytes.starts_with(&written) {
            assert_eq!(list.as_ref().unwrap().to_vec().unwrap(), items);
        }
        let Ok(list) = list else { return };
        if is_late {
            spoil(&mut bytes, random);
            bytes.resize(SIZE, 0);
            memory.write(0, &bytes);
        }
        within(64 * SIZE, &bytes, || use_all(&list, random));
    });
}
