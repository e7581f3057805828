//! The process table under the model checker: children that die at each step of moving in, their parents, and others that
//! look for rows at the same time.

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

/// A table of `count` rows, in which the parent and another process live. It is leaked: in real life it stays mapped.
fn table(count: usize) -> (Parties, PartyId, PartyId) {
    let rows = Vec::leak((0..count).map(|_| Party::new()).collect());
    let parties = Parties { rows, head: Box::leak(Box::new(Head::new())), lives: Lives, at: 0 };
    let live = |pid| parties.move_in_while(None, None, pid, || true).unwrap().expect("a free row");
    let (parent, other) = (live(1), live(2));
    (parties, parent, other)
}

/// Moves in, and dies after so many steps; the whole life of a child. After none it has not begun.
fn live_and_die(parties: Parties, own: PartyId, parent: PartyId, steps: u32) {
    if steps == 0 {
        return life::ends(CHILD.into());
    }
    let mut done = 1;
    let moved = parties.move_in_while(Some(own), Some(parent), CHILD, || {
        done += 1;
        done <= steps
    });
    // What it has taken is marked.
    let took = if moved.unwrap().is_some() { 3 } else { steps };
    if took >= 2 {
        parties.rows[own.row as usize].mark.orphan();
    }
    life::ends(CHILD.into());
}

fn standing_of(parties: &Parties, id: PartyId) -> (Standing, u32) {
    parties.rows[id.row as usize].standing().expect("a word of ours")
}

/// The parent knows that its child has ended, and finds the row in whatever state it is, while another process clears up, too:
/// one of them releases it, and it is free for the next.
#[test]
fn model_a_child_that_dies_at_any_step_leaves_no_row_taken() {
    for steps in 0..=3 {
        check(move || {
            let (parties, parent, other) = table(3);
            let child = parties.reserve(parent).expect("a free row");
            assert!(parties.reserve(other).is_none());
            let clears = thread::spawn(move || {
                let taken = parties.take_dead(other, None);
                taken.iter().for_each(|id| parties.give_back(*id));
                taken.len()
            });
            let lives = thread::spawn(move || live_and_die(parties, child, parent, steps));
            lives.join().unwrap();
            let taken = parties.take_dead(parent, Some(child));
            taken.iter().for_each(|id| parties.give_back(*id));
            let cleared = clears.join().unwrap();
            assert_eq!(taken.len() + cleared, 1);
            assert_eq!(standing_of(&parties, child), (Standing::Free, child.generation + 1));
            assert!(parties.has_ended(child));
            assert!(parties.reserve(parent).is_some());
        });
    }
}

/// The parent has died. Its child that outlives it moves in while another process clears up: into the row that was
/// reserved, or into another one, but never into one that somebody else has.
#[test]
fn model_a_child_whose_parent_is_dead_has_a_row_of_its_own() {
    check(|| {
        let (parties, parent, other) = table(4);
        let child = parties.reserve(parent).expect("a free row");
        parties.rows[parent.row as usize].mark.orphan();
        let clears = thread::spawn(move || {
            parties.take_dead(other, None).iter().for_each(|id| parties.give_back(*id));
            parties.reserve(other)
        });
        let own = parties.move_in_while(Some(child), Some(parent), CHILD, || true).unwrap().expect("a free row");
        let reserved = clears.join().unwrap();
        assert_ne!(reserved, Some(own));
        assert_eq!(standing_of(&parties, own), (Standing::Living(Some(parent)), own.generation));
        assert!(!parties.has_ended(own) && !parties.is_dead(own.row, Some(own.generation as u8)));
    });
}

/// Who was releasing a dead process's things dies over it: somebody else does it, and one alone.
#[test]
fn model_who_dies_releasing_is_replaced_by_one() {
    check(|| {
        let (parties, parent, other) = table(4);
        let child = parties.reserve(parent).expect("a free row");
        live_and_die(parties, child, parent, 3);
        assert_eq!(parties.take_dead(parent, Some(child)), [child]);
        let third = parties.move_in_while(None, Some(other), 3, || true).unwrap().expect("a free row");
        parties.rows[parent.row as usize].mark.orphan();
        let clear = move |own| {
            let taken = parties.take_dead(own, None);
            taken.iter().for_each(|id| parties.give_back(*id));
            taken.contains(&child)
        };
        let thread = thread::spawn(move || clear(third));
        let mine = clear(other);
        assert!(mine != thread.join().unwrap());
        assert_eq!(standing_of(&parties, child), (Standing::Free, child.generation + 1));
    });
}
