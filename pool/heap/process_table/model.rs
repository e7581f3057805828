//! The process table under the model checker: children that die at each step of moving in, their parents, and others that
//! look for slots at the same time.

use super::*;
use loom::thread;

/// The process id of the child.
const CHILD: u32 = 7;

/// Runs a model through all interleavings with at most two preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// A table of `count` slots, in which the parent and another process live. It is leaked: in real life it stays mapped.
fn table(count: usize) -> (ProcessTable, SlotId, SlotId) {
    let slots = Vec::leak((0..count).map(|_| ProcessSlot::new()).collect());
    let processes = ProcessTable { slots, head: Box::leak(Box::new(Head::new())), lives: Lives, at: 0 };
    let live = |pid| processes.move_in_while(None, None, pid, || true).unwrap().expect("a free slot");
    let (parent, other) = (live(1), live(2));
    (processes, parent, other)
}

/// Moves in, and dies after so many steps; the whole life of a child. After none it has not begun.
fn live_and_die(processes: ProcessTable, own: SlotId, parent: SlotId, steps: u32) {
    if steps == 0 {
        return life::ends(CHILD.into());
    }
    let mut done = 1;
    let moved = processes.move_in_while(Some(own), Some(parent), CHILD, || {
        done += 1;
        done <= steps
    });
    // What it has taken is marked.
    let took = if moved.unwrap().is_some() { 3 } else { steps };
    if took >= 2 {
        processes.slots[own.index as usize].mark.orphan();
    }
    life::ends(CHILD.into());
}

fn standing_of(processes: &ProcessTable, id: SlotId) -> (Standing, u32) {
    processes.slots[id.index as usize].standing().expect("a word of ours")
}

/// The parent knows that its child has ended, and finds the slot in whatever state it is, while another process clears up, too:
/// one of them releases it, and it is free for the next.
#[test]
fn model_a_child_that_dies_at_any_step_leaves_no_slot_taken() {
    for steps in 0..=3 {
        check(move || {
            let (processes, parent, other) = table(3);
            let child = processes.reserve(parent).expect("a free slot");
            assert!(processes.reserve(other).is_none());
            let clears = thread::spawn(move || {
                let taken = processes.take_dead(other, None);
                taken.iter().for_each(|id| processes.give_back(*id));
                taken.len()
            });
            let lives = thread::spawn(move || live_and_die(processes, child, parent, steps));
            lives.join().unwrap();
            let taken = processes.take_dead(parent, Some(child));
            taken.iter().for_each(|id| processes.give_back(*id));
            let cleared = clears.join().unwrap();
            assert_eq!(taken.len() + cleared, 1);
            assert_eq!(standing_of(&processes, child), (Standing::Free, child.generation + 1));
            assert!(processes.has_ended(child));
            assert!(processes.reserve(parent).is_some());
        });
    }
}

/// The word that says that a process lives comes last.
#[test]
fn model_who_sees_a_process_sees_its_pid() {
    check(|| {
        let (processes, parent, _) = table(3);
        let child = processes.reserve(parent).expect("a free slot");
        let moves_in = thread::spawn(move || {
            let moved = processes.move_in_while(Some(child), Some(parent), CHILD, || true);
            assert_eq!(moved.unwrap(), Some(child));
        });
        if standing_of(&processes, child).0 == Standing::Living(Some(parent)) {
            assert_eq!(processes.slots[child.index as usize].pid.load(Relaxed), u64::from(CHILD));
        }
        moves_in.join().unwrap();
    });
}

/// The parent has died. Its child that outlives it moves in while another process clears up: into the slot that was
/// reserved, or into another one, but never into one that somebody else has.
#[test]
fn model_a_child_whose_parent_is_dead_has_a_slot_of_its_own() {
    check(|| {
        let (processes, parent, other) = table(4);
        let child = processes.reserve(parent).expect("a free slot");
        processes.slots[parent.index as usize].mark.orphan();
        let clears = thread::spawn(move || {
            processes.take_dead(other, None).iter().for_each(|id| processes.give_back(*id));
            processes.reserve(other)
        });
        let own = processes.move_in_while(Some(child), Some(parent), CHILD, || true).unwrap().expect("a free slot");
        let reserved = clears.join().unwrap();
        assert_ne!(reserved, Some(own));
        assert_eq!(standing_of(&processes, own), (Standing::Living(Some(parent)), own.generation));
        assert!(!processes.has_ended(own) && !processes.is_dead(own.index, Some(own.generation as u8)));
    });
}

/// The guardian lives on behind the process that has started it; whatever else has lost its parent is about to end.
#[test]
fn model_a_guardian_is_no_orphan() {
    check(|| {
        let (processes, parent, _) = table(3);
        let own = processes.reserve(parent).expect("a free slot");
        let own = processes.move_in_while(Some(own), Some(parent), CHILD, || true).unwrap().expect("its slot");
        assert!(!processes.has_orphans());
        processes.slots[parent.index as usize].mark.orphan();
        assert!(processes.has_orphans());
        processes.head.guardian.store(own.to_bits(), Release);
        assert!(!processes.has_orphans());
    });
}

/// Who sees that a process lives sees what it has written into its slot before.
#[test]
fn model_who_sees_a_process_live_sees_its_number() {
    check(|| {
        let slots = Vec::leak(vec![ProcessSlot::new()]);
        let processes = ProcessTable { slots, head: Box::leak(Box::new(Head::new())), lives: Lives, at: 0 };
        let lives = thread::spawn(move || processes.move_in_while(None, None, CHILD, || true).unwrap().is_some());
        let seen = processes.first();
        assert!(seen.is_none_or(|pid| pid == CHILD as i32), "{seen:?}");
        assert!(lives.join().unwrap());
    });
}

/// Who was releasing a dead process's things dies over it: somebody else does it, and one alone.
#[test]
fn model_who_dies_releasing_is_replaced_by_one() {
    check(|| {
        let (processes, parent, other) = table(4);
        let child = processes.reserve(parent).expect("a free slot");
        live_and_die(processes, child, parent, 3);
        assert_eq!(processes.take_dead(parent, Some(child)), [child]);
        let third = processes.move_in_while(None, Some(other), 3, || true).unwrap().expect("a free slot");
        processes.slots[parent.index as usize].mark.orphan();
        let clear = move |own| {
            let taken = processes.take_dead(own, None);
            taken.iter().for_each(|id| processes.give_back(*id));
            taken.contains(&child)
        };
        let thread = thread::spawn(move || clear(third));
        let mine = clear(other);
        assert!(mine != thread.join().unwrap());
        assert_eq!(standing_of(&processes, child), (Standing::Free, child.generation + 1));
    });
}
