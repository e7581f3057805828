//! `ShareableList`: Python's rules, Python's layout from both sides, and hostile bytes.

use super::common::links::on_each_pool;
use super::common::python::Python;
use super::common::watchdog::watchdog;
use multiproc::{Item, ShareableList, SharedMemory};
use std::io::ErrorKind;

fn mixed() -> Vec<Item> {
    vec!["howdy".into(), b"HoWdY".into(), (-273.154).into(), 100.into(), Item::None, true.into(), 42.into()]
}

/// Python 3.11 removes what it has merely attached to when it ends, unless it is told not to.
const ATTACH: &str = "
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import ShareableList
items = ShareableList(name=sys.argv[1])
resource_tracker.unregister(items.shm._name, 'shared_memory')
";

#[test]
fn it_is_a_list_of_fixed_length() {
    let _watchdog = watchdog(60);
    let list = ShareableList::create(None, mixed()).unwrap();
    assert_eq!((list.len(), list.is_empty()), (7, false));
    assert_eq!(list.to_vec().unwrap(), mixed());
    assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q");
    assert_eq!(format!("{list:?}"), format!("{:?}", mixed()));
    assert_eq!(list.iter().len(), 7);
    for index in [7, 8, usize::MAX] {
        let error = list.get(index).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().starts_with("index out of range"), "{error}");
        let error = list.set(index, 1).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().starts_with("assignment index"), "{error}");
    }
    assert_eq!((list.index(100).unwrap(), list.index("gone").unwrap()), (Some(3), None));
    list.set(3, 42).unwrap();
    assert_eq!((list.count(42).unwrap(), list.count(Item::None).unwrap(), list.count("x").unwrap()), (2, 1, 0));

    // Another kind in the same slot.
    list.set(0, 7.5).unwrap();
    list.set(5, "text").unwrap();
    list.set(6, Item::None).unwrap();
    assert_eq!(list.format().unwrap(), "d8sdqxxxxxx?x8sxxxxxx?x");
    list.set(4, i64::MIN).unwrap();
    let now = [7.5.into(), b"HoWdY".into(), (-273.154).into(), 42.into(), i64::MIN.into(), "text".into(), Item::None];
    assert_eq!(list.to_vec().unwrap(), now);

    // A duplicate is a list of its own; what is opened by name is the same.
    let duplicate = ShareableList::create(None, list.to_vec().unwrap()).unwrap();
    let same = ShareableList::open(list.shared_memory().name().unwrap()).unwrap();
    list.set(0, 1).unwrap();
    assert_eq!((duplicate.get(0).unwrap(), same.get(0).unwrap()), (7.5.into(), 1.into()));
    assert_eq!(same.to_vec().unwrap(), list.to_vec().unwrap());

    let empty = ShareableList::create(None, Vec::<Item>::new()).unwrap();
    let same = ShareableList::open(empty.shared_memory().name().unwrap()).unwrap();
    assert!(same.is_empty() && same.to_vec().unwrap().is_empty() && same.format().unwrap().is_empty());
    assert!(same.get(0).is_err());
}

#[test]
fn what_fits_its_slot_fits_and_nothing_else() {
    let _watchdog = watchdog(60);
    let list = ShareableList::anonymous(["a", "b", "c"]).unwrap();
    // Exactly 8 bytes in UTF-8.
    list.set(1, "äöü!!").unwrap();
    assert_eq!(list.get(1).unwrap(), "äöü!!".into());
    for wrong in [Item::from("äöü!!!"), Item::from(&[1; 9])] {
        let error = list.set(1, wrong).unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
        assert_eq!(error.to_string(), "9 bytes exceed the available storage of 8 bytes");
    }
    assert_eq!(list.to_vec().unwrap(), ["a".into(), "äöü!!".into(), Item::from("c")]);
    // Text of many bytes a letter has room for all of them from the start.
    let text = "€".repeat(100);
    let list = ShareableList::anonymous([&*text]).unwrap();
    assert_eq!((list.get(0).unwrap(), list.format().unwrap()), (Item::from(text), "304s".to_owned()));
    // Bytes keep their length.
    let zeros: Vec<Item> = (0..20).map(|len| Item::Bytes(vec![0; len])).collect();
    assert_eq!(ShareableList::anonymous(zeros.clone()).unwrap().to_vec().unwrap(), zeros);
    // What has no format.
    assert!(ShareableList::anonymous([vec![1; 9_999_991]]).is_ok());
    assert!(ShareableList::anonymous([vec![1; 9_999_992]]).unwrap_err().is_invalid_argument());
    assert!(ShareableList::anonymous([vec![0; 999_999]]).is_ok());
    assert!(ShareableList::anonymous([vec![0; 1_000_000]]).unwrap_err().is_invalid_argument());
}

#[test]
fn python_reads_and_writes_our_list() {
    let _watchdog = watchdog(60);
    let mut items = mixed();
    items.extend([Item::from("grüße"), b"ab\0".into(), i64::MAX.into(), false.into(), "".into()]);
    let list = ShareableList::create(None, items).unwrap();
    let program = format!(
        "{ATTACH}
print(list(items), items.format, len(items))
items[0] = 'changed!'
items[1] = None
items[3] = b'12345678'
items[4] = 'eight..8'
items[7] = 1.25
items[8] = b'longer'
items[10] = True
items[11] = -1
try:
    items[11] = '123456789'
except ValueError as error:
    print(error)
print(list(items))
"
    );
    let Some(printed) = Python::run(&program, &[list.shared_memory().name().unwrap()]) else { return };
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "['howdy', b'HoWdY', -273.154, 100, None, True, 42, 'grüße', b'ab', {}, False, ''] \
             8s8sdqxxxxxx?xxxxxxxx?q8s3s qxxxxxxx?8s 12",
            i64::MAX
        )
    );
    assert_eq!(lines[1], "bytes/str item exceeds available storage");
    let now: [Item; 12] = [
        "changed!".into(),
        Item::None,
        (-273.154).into(),
        b"12345678".into(),
        "eight..8".into(),
        true.into(),
        42.into(),
        1.25.into(),
        b"longer".into(),
        i64::MAX.into(),
        true.into(),
        (-1).into(),
    ];
    assert_eq!(list.to_vec().unwrap(), now);
}

#[test]
fn we_read_and_write_a_list_of_python() {
    let _watchdog = watchdog(60);
    let program = "
from multiprocessing.shared_memory import ShareableList
items = ShareableList(['howdy', b'HoWdY', -273.154, 100, None, True, 42, 'x' * 20, -2**63])
print(items.shm.name)
input()
print(list(items))
print(items.format)
items[1] = b'12345678'
items[3] = 'back'
print('done')
input()
items.shm.unlink()
";
    let Some(mut python) = Python::start(program, &[]) else { return };
    let list = ShareableList::open(&python.line()).unwrap();
    let mut expected = mixed();
    expected.extend(["x".repeat(20).into(), i64::MIN.into()]);
    assert_eq!(list.to_vec().unwrap(), expected);
    assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q24sq");
    list.set(0, Item::None).unwrap();
    list.set(1, b"z\0\0").unwrap();
    list.set(2, 99).unwrap();
    list.set(4, "größe").unwrap();
    list.set(5, 0.5).unwrap();
    list.set(7, "y".repeat(24)).unwrap();
    list.set(8, false).unwrap();
    python.say("go on");
    let y = "y".repeat(24);
    assert_eq!(python.line(), format!("[None, b'z', 99, 100, 'größe', 0.5, 42, '{y}', False]"));
    assert_eq!(python.line(), "xxxxxx?x3s qq8sdq24sxxxxxxx?");
    assert_eq!(python.line(), "done");
    assert_eq!((list.get(1).unwrap(), list.get(3).unwrap()), (b"12345678".into(), "back".into()));
    python.say("end");
    python.end();
}

#[test]
fn it_travels_to_tasks_and_back() {
    on_each_pool(2, 60, |pool| {
        for list in [ShareableList::create(None, mixed()).unwrap(), ShareableList::anonymous(mixed()).unwrap()] {
            let read = pool.map(|list: ShareableList| list.to_vec().unwrap(), vec![list.clone(); 4]).unwrap();
            assert!(read.iter().all(|items| *items == mixed()));
            let change = |list: ShareableList, to: Item| list.set(1, to).map(|()| list);
            let back = pool.task(change, (list.clone(), Item::from("worker"))).fallible().run().unwrap();
            assert_eq!((back.get(1).unwrap(), list.get(1).unwrap()), ("worker".into(), "worker".into()));
        }
    });
}

/// A file can be much longer than any memory, and hold next to nothing.
#[test]
fn a_list_of_which_nothing_is_there_costs_no_memory() {
    let _watchdog = watchdog(60);
    const SIZE: u64 = 1 << 40;
    let memory = SharedMemory::create(None, 4096).unwrap();
    let name = memory.name().unwrap();
    std::fs::OpenOptions::new().write(true).open(format!("/dev/shm/{name}")).unwrap().set_len(SIZE).unwrap();
    memory.set(0, SIZE / 17 - 1);
    let error = ShareableList::open(name).unwrap_err();
    assert_eq!(error.io_kind(), Some(ErrorKind::InvalidData), "{error}");
}

#[test]
fn hostile_bytes_are_errors() {
    let _watchdog = watchdog(60);
    let is_damaged = |error: multiproc::Error| error.io_kind() == Some(ErrorKind::InvalidData);
    // What was never a list.
    for size in [1, 8, 15, 16, 17, 24, 100] {
        for byte in [0, 1, 0x7f, 0xff] {
            let memory = SharedMemory::create(None, size).unwrap();
            memory.write(0, &vec![byte; size]);
            match ShareableList::open(memory.name().unwrap()) {
                Ok(list) => assert!(list.is_empty() && byte == 0 && size >= 16, "{size} {byte}"),
                Err(error) => assert!(is_damaged(error), "{size} {byte}"),
            }
        }
    }
    // A list with any bytes in any place, seen by who opens it then and by who had it open before.
    let good = ShareableList::create(None, mixed()).unwrap();
    let memory = SharedMemory::open(good.shared_memory().name().unwrap()).unwrap();
    let whole = memory.read(..);
    let look = |list: &ShareableList| {
        for item in list.iter() {
            assert!(item.err().is_none_or(is_damaged));
        }
        let _ = (list.format().is_ok(), list.index(1).is_ok(), format!("{list:?}"));
        for index in 0..list.len().min(20) {
            list.set(index, 5).unwrap();
            assert_eq!(list.get(index).unwrap(), 5.into());
        }
    };
    let mut random = 1u64;
    for at in (0..whole.len()).chain(0..2000) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        memory.write(0, &whole);
        let at = if random % 3 == 0 { at % whole.len() } else { (random >> 20) as usize % whole.len() };
        let patch = &random.to_le_bytes()[..1 + (random >> 60) as usize % 8];
        memory.write(at.min(whole.len() - patch.len()), patch);
        look(&good);
        memory.write(0, &whole);
        memory.write(at.min(whole.len() - patch.len()), patch);
        match ShareableList::open(memory.name().unwrap()) {
            Ok(list) => look(&list),
            Err(error) => assert!(is_damaged(error)),
        }
    }
    // Formats and codes that nobody writes, one by one: the formats begin behind 7 offsets and 7 slots of 8 bytes.
    let formats = 16 + 7 * 8 + 7 * 8;
    let hostile: [&[u8; 8]; 8] = [
        b"9s\0\0\0\0\0\0",
        b"9999999s",
        b"s\0\0\0\0\0\0\0",
        b"-1s\0\0\0\0\0",
        b"+8s\0\0\0\0\0",
        b" 8s\0\0\0\0\0",
        b"\xffs\0\0\0\0\0\0",
        b"q\0\0\0\0\0\0\0",
    ];
    for format in hostile {
        memory.write(0, &whole);
        memory.write(formats, format);
        assert!(is_damaged(good.get(0).unwrap_err()), "{format:?}");
    }
    memory.write(0, &whole);
    for code in [0u8, 4, 0x7f, 0xff] {
        memory.set(formats + 7 * 8, code);
        assert!(is_damaged(good.get(0).unwrap_err()), "{code}");
    }
    memory.write(0, &whole);
    memory.write(16 + 7 * 8, b"\xff\xfe");
    assert!(is_damaged(good.get(0).unwrap_err()), "no UTF-8");
}
