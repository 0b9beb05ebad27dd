//! Work on all cores with results in the order of the input, and never more than a window of it in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc},
};

/// Items in flight for every thread: enough that one slow item does not stop the others at once.
const WINDOW: usize = 16;

/// Maps `items` by `map` on `threads` threads, each with a state of its own that `state` makes, and hands the results to
/// `take` in the order of the items. Reads no more when `take` says so by returning false. Items are read, and results
/// taken, on the caller's thread.
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
                    // A poisoned lock means that another thread panicked; the scope will say so.
                    let Ok(Ok((index, item))) = todo.lock().map(|todo| todo.recv()) else { return };
                    if done.send((index, map(&mut state, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut waiting, mut begun, mut next) = (BTreeMap::new(), 0, 0);
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
                go_on = take(result);
            }
            if !go_on {
                break;
            }
        }
        // Threads that wait for work go home; a result for nobody is dropped.
        drop((work, results));
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
