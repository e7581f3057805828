//! Files of checkpoints as we write them, and spoiled: each is read, or is an error, takes no more memory than its length is
//! worth, and never gives a result that was not written for its task.

use super::file::{Description, Digest, Found, header, read, write_record};
use crate::sys::fuzz::{Random, fuzz, within};
use std::collections::HashMap;

fn description(random: &mut Random) -> Description {
    let context = random.once_in(2).then(|| random.number());
    Description { function: random.text(9), result: random.text(9), context }
}

/// The bytes of a file, and the results in it by the number of their task.
fn file(random: &mut Random, description: &Description) -> (Vec<u8>, HashMap<u64, Vec<u8>>) {
    let mut bytes = header(description);
    let mut results = HashMap::new();
    for _ in 0..random.below(6) {
        let (index, result) = (random.number(), random.bytes(60));
        if results.insert(index, result.clone()).is_none() {
            write_record(&mut bytes, index, Digest::of(&index.to_le_bytes()), &result);
        } else {
            // What is there stays.
            results.remove(&index);
            return (bytes, results);
        }
    }
    (bytes, results)
}

#[test]
fn whatever_is_in_a_file() {
    let (mut whole, mut torn, mut refused) = (0u64, 0u64, 0u64);
    fuzz(
        || (),
        |(), random| {
            let wanted = description(random);
            let written = if random.once_in(9) { description(random) } else { wanted.clone() };
            let (good, results) = file(random, &written);
            let mut bytes = good.clone();
            match random.below(4) {
                // Cut off anywhere, as by a kill; with zeros behind it, as by a power failure.
                0 => bytes.truncate(random.below(good.len() + 1)),
                1 => {
                    bytes.truncate(random.below(good.len() + 1));
                    bytes.resize(bytes.len() + random.below(90), 0);
                }
                _ => random.spoil(&mut bytes),
            }
            let expected = header(&wanted);
            let most = 64 * 1024 + 16 * bytes.len();
            let found = within(most, &bytes, || read(&bytes[..], bytes.len() as u64, &expected, &wanted));
            let Ok(Found { records, end }) = found else {
                refused += 1;
                return;
            };
            assert!(end <= bytes.len() as u64);
            if end == bytes.len() as u64 {
                whole += 1
            } else {
                torn += 1
            }
            // What was only cut off keeps all records before the cut.
            if good.starts_with(&bytes) && written == wanted && end > 0 {
                let kept = good.len() == bytes.len();
                assert!(!kept || records.len() >= results.len(), "{} records of {}", records.len(), results.len());
            }
            // Behind what was read a record can be appended, and then both are there.
            if end > 0 {
                let mut longer = bytes[..usize::try_from(end).unwrap()].to_vec();
                let next = (0..).find(|index| !records.contains_key(index)).unwrap();
                write_record(&mut longer, next, 1, b"more");
                let again = read(&longer[..], longer.len() as u64, &expected, &wanted).unwrap();
                assert_eq!((again.records.len(), again.end), (records.len() + 1, longer.len() as u64));
                assert!(records.iter().all(|(index, record)| again.records.get(index) == Some(record)));
            }
        },
    );
    println!("{whole} whole, {torn} torn, {refused} refused");
    assert!(whole > 0 && torn > 0 && refused > 0);
}

#[test]
fn a_file_that_is_cut_off_anywhere_keeps_what_is_before_the_cut() {
    let description = Description { function: "f".to_owned(), result: "u64".to_owned(), context: None };
    let expected = header(&description);
    let mut bytes = expected.clone();
    let mut ends = vec![bytes.len()];
    for index in 0..5u64 {
        write_record(&mut bytes, index, 0, &index.to_le_bytes());
        ends.push(bytes.len());
    }
    for len in 0..=bytes.len() {
        let found = read(&bytes[..len], len as u64, &expected, &description).unwrap();
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(found.records.len(), whole.saturating_sub(1), "cut at {len}");
        assert_eq!(found.end as usize, if whole == 0 { 0 } else { ends[whole - 1] }, "cut at {len}");
    }
    // Damage before the end is no torn end, and what is behind it is not thrown away.
    let last = ends[4];
    for at in expected.len()..last {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let error = read(&bad[..], bad.len() as u64, &expected, &description).unwrap_err();
        assert!(error.starts_with("is damaged at byte "), "{at}: {error}");
    }
}
