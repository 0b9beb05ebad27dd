//! Work on all cores with results in the order of the input, and never more than a window of it in memory.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, mpsc},
};

/// Items in flight for every thread: enough that one slow item does not stop the others at once.
const WINDOW: usize = 16;

/// Maps `items` by `map` on `threads` threads, each with a state of its own that `state` makes, and hands the results to
/// `take` in the order of the items. Reads no more when `take` says so by returning false. Items are read, and results
/// taken, on the caller's thread.
///
/// # Panics
/// With the panic of `map`, as soon as its result would be taken: nobody waits for what will not come.
pub fn in_order<T, R, S>(
    mut items: impl Iterator<Item = T>,
    threads: usize,
    state: impl Fn() -> S + Sync,
    map: impl Fn(&mut S, T) -> R + Sync,
    mut take: impl FnMut(R) -> bool,
) where
    T: Send,
    R: Send,
{
    let threads = threads.max(1);
    let (work, todo) = mpsc::channel();
    let (done, results) = mpsc::channel();
    let todo = Mutex::new(todo);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (done, todo, state, map) = (done.clone(), &todo, &state, &map);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    let Ok(Ok((index, item))) = todo.lock().map(|todo| todo.recv()) else { return };
                    let result = panic::catch_unwind(AssertUnwindSafe(|| map(&mut state, item)));
                    let panicked = result.is_err();
                    // A state in which something panicked is trusted no more.
                    if done.send((index, result)).is_err() || panicked {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut waiting, mut begun, mut next, mut panicked) = (BTreeMap::new(), 0, 0, None);
        loop {
            while begun < next + WINDOW * threads
                && let Some(item) = items.next()
            {
                let _ = work.send((begun, item));
                begun += 1;
            }
            if begun == next {
                break;
            }
            let Ok((index, result)) = results.recv() else { break };
            waiting.insert(index, result);
            let mut go_on = true;
            while go_on && let Some(result) = waiting.remove(&next) {
                next += 1;
                match result {
                    Ok(result) => go_on = take(result),
                    Err(panic) => (go_on, panicked) = (false, Some(panic)),
                }
            }
            if !go_on {
                break;
            }
        }
        // Threads that wait for work go home; a result for nobody is dropped.
        drop((work, results));
        if let Some(panic) = panicked {
            panic::resume_unwind(panic);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_fast() {
        let mut seen = Vec::new();
        let slow = |_: &mut (), item: u64| {
            std::thread::sleep(std::time::Duration::from_millis(if item.is_multiple_of(7) { 5 } else { 0 }));
            item * 2
        };
        in_order(
            0..200_u64,
            4,
            || (),
            slow,
            |result| {
                seen.push(result);
                true
            },
        );
        assert_eq!(seen, (0..200).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_passed_on_instead_of_being_waited_for() {
        for threads in [1, 2, 4] {
            let mut taken = 0;
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                let map = |_: &mut (), item: u64| if item == 70 { panic!("item {item}") } else { item };
                in_order(
                    0..1000,
                    threads,
                    || (),
                    map,
                    |_| {
                        taken += 1;
                        true
                    },
                );
            }));
            let panic = outcome.expect_err("a panic");
            assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("item 70"), "{threads} threads");
            assert_eq!(taken, 70, "{threads} threads");
        }
    }

    #[test]
    fn whoever_takes_may_stop_an_endless_input() {
        let mut seen = 0;
        in_order(
            0_u64..,
            3,
            || (),
            |_, item| item,
            |_| {
                seen += 1;
                seen < 10
            },
        );
        assert_eq!(seen, 10);
        let mut none = true;
        in_order(
            std::iter::empty::<u64>(),
            3,
            || (),
            |_, item| item,
            |_| {
                none = false;
                true
            },
        );
        assert!(none);
    }
}
