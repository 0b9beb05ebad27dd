//! Reservations under contention: threads, killed and stopped processes, owners that come back from the dead.

use super::*;
use crate::owner::tests::{child_dir, signal, spawn, wait_to_be_killed};
use rustix::process::Signal;
use std::{
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

const TTL: Duration = Duration::from_secs(60);

fn open(root: &Path) -> Reservations {
    let owner = Owner::register(&root.join("owners"), TTL).expect("a registration");
    Reservations::open(&root.join("reserved"), Arc::new(owner)).expect("the reservations")
}

fn reserve(reservations: &Reservations, name: &str) -> Reserve {
    reservations.try_reserve(name).expect("an answer")
}

/// What a killed process that held `names` leaves behind.
fn killed_owner(root: &Path, test: &str) {
    let (mut child, _) = spawn(test, root);
    child.kill().expect("a signal");
    child.wait().expect("its end");
}

fn holds_in_a_child(names: impl IntoIterator<Item = String>) {
    if let Some(root) = child_dir() {
        let reservations = open(&root);
        for name in names {
            assert_eq!(reserve(&reservations, &name), Reserve::Reserved);
        }
        wait_to_be_killed("");
    }
}

#[test]
fn a_name_has_one_owner_until_it_is_released() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (open(root.path()), open(root.path()));
    assert_eq!(reserve(&one, "s"), Reserve::Reserved);
    assert_eq!(reserve(&one, "s"), Reserve::Mine);
    let Reserve::HeldBy { holder, liveness } = reserve(&two, "s") else { panic!("two owners of one name") };
    assert_eq!((holder, liveness), (one.owner().describe(one.owner().id()), Liveness::Alive));
    assert!(!two.release("s").expect("an answer"), "nobody releases what is another's");
    assert!(one.still_mine("s").expect("an answer") && !two.still_mine("s").expect("an answer"));
    assert!(one.release("s").expect("an answer"));
    assert!(!one.still_mine("s").expect("an answer") && !one.release("s").expect("an answer"));
    assert_eq!(reserve(&two, "s"), Reserve::Reserved);
    assert!(two.release("s").expect("an answer"));
    assert_eq!(names(&root.path().join("reserved")).expect("a list"), [""; 0], "released names left something");
}

#[test]
fn a_killed_owner_is_succeeded_by_one_of_eight() {
    let rounds = 0..20;
    holds_in_a_child(rounds.clone().map(|round| round.to_string()));
    let root = tempfile::tempdir().expect("a temporary folder");
    let challengers: Vec<Reservations> = (0..8).map(|_| open(root.path())).collect();
    killed_owner(root.path(), "reserve::tests::a_killed_owner_is_succeeded_by_one_of_eight");
    for round in rounds {
        let (name, barrier) = (round.to_string(), Barrier::new(8));
        let came: Vec<Reserve> = thread::scope(|scope| {
            let race = |challenger| {
                let (name, barrier) = (&name, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    reserve(challenger, name)
                })
            };
            let threads: Vec<_> = challengers.iter().map(race).collect();
            threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        let winners: Vec<usize> = (0..8).filter(|&index| came[index] == Reserve::Reserved).collect();
        assert_eq!(winners.len(), 1, "round {round}: expected one successor, found {winners:?}");
        for (index, challenger) in challengers.iter().enumerate() {
            let mine = challenger.still_mine(&name).expect("an answer");
            assert_eq!(mine, index == winners[0], "round {round}: challenger {index}");
        }
    }
}

#[test]
fn many_owners_in_turn_are_never_two_at_once() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            let (inside, turns, root) = (&inside, &turns, root.path());
            scope.spawn(move || {
                while turns.load(SeqCst) < 100 {
                    // Every turn is a new owner, and every other ends without releasing: it is succeeded as a dead one.
                    let reservations = open(root);
                    if reserve(&reservations, "the one") == Reserve::Reserved {
                        assert_eq!(inside.fetch_add(1, SeqCst), 0, "two owners held one name at once");
                        thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                        if turns.fetch_add(1, SeqCst) % 2 == 0 {
                            assert!(reservations.release("the one").expect("an answer"), "it was taken away");
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn a_stopped_owner_keeps_its_name() {
    holds_in_a_child(["s".to_owned()]);
    let root = tempfile::tempdir().expect("a temporary folder");
    let me = open(root.path());
    let (mut child, _) = spawn("reserve::tests::a_stopped_owner_keeps_its_name", root.path());
    signal(&child, Signal::STOP);
    let came = reserve(&me, "s");
    assert!(matches!(came, Reserve::HeldBy { liveness: Liveness::Alive, .. }), "{came:?}");
    child.kill().expect("a signal");
    child.wait().expect("its end");
    assert_eq!(reserve(&me, "s"), Reserve::Reserved);
}

#[test]
fn an_owner_that_was_taken_for_dead_learns_so_and_removes_nothing_of_its_successor() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (slow, quick) = (open(root.path()), open(root.path()));
    assert_eq!(reserve(&slow, "s"), Reserve::Reserved);
    // As another machine would find it after the time to live.
    fs::rename(root.path().join("owners").join(slow.owner().id()), root.path().join("away")).expect("a rename");
    assert_eq!(reserve(&quick, "s"), Reserve::Reserved);
    assert!(!slow.still_mine("s").expect("an answer"), "an owner must learn that its name was taken");
    assert!(!slow.release("s").expect("an answer"));
    assert!(quick.still_mine("s").expect("an answer"), "a late release took the successor's reservation away");
    // A challenger that decided before the takeover that the slow one is dead, and acts only now.
    let folder = quick.folder("s");
    assert!(
        !remove(&folder.join(slow.owner().id())).expect("an answer") && !open(root.path()).place(&folder).expect("one")
    );
    assert!(quick.still_mine("s").expect("an answer"));
}

#[test]
fn what_dead_owners_left_is_swept_on_opening() {
    holds_in_a_child((0..5).map(|index| index.to_string()));
    let root = tempfile::tempdir().expect("a temporary folder");
    let living = open(root.path());
    assert_eq!(reserve(&living, "living"), Reserve::Reserved);
    killed_owner(root.path(), "reserve::tests::what_dead_owners_left_is_swept_on_opening");
    let list = || names(&root.path().join("reserved")).expect("a list");
    assert_eq!(list().len(), 6);
    drop(open(root.path()));
    assert_eq!(list().len(), 1, "only the living owner's reservation stays");
    assert!(living.still_mine("living").expect("an answer"));
}

#[test]
fn a_disk_that_refuses_is_an_error_and_not_a_holder() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let me = open(root.path());
    fs::remove_dir(root.path().join("reserved")).expect("an empty folder");
    fs::write(root.path().join("reserved"), "a file in its place").expect("a file");
    let came = me.try_reserve("s");
    assert!(matches!(came, Err(DatasetError::Io { .. })), "expected an error of the disk, found {came:?}");
}
