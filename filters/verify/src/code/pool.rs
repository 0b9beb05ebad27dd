//! Work on all cores with results in the order of the input, and never more than a window of it in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc},
};

/// Maps `items` by `map` on `threads` threads, each with a state of its own that `state` makes, and hands the results to
/// `take` in the order of the items. Stops reading when `take` says so by returning false.
pub fn in_order<T, R, S>(
    items: impl Iterator<Item = T> + Send,
    threads: usize,
    state: impl Fn() -> S + Sync,
    map: impl Fn(&mut S, T) -> R + Sync,
    mut take: impl FnMut(R) -> bool,
) where
    T: Send,
    R: Send,
{
    let threads = threads.max(1);
    let items = Mutex::new(items.enumerate());
    // Permits bound how far a fast thread runs ahead of the one that `take` waits for.
    let (permit, permits) = mpsc::sync_channel::<()>(16 * threads);
    let permits = Mutex::new(permits);
    for _ in 0..16 * threads {
        let _ = permit.try_send(());
    }
    let (done, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (done, items, permits, state, map) = (done.clone(), &items, &permits, &state, &map);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    // A poisoned lock means that another thread panicked; the scope will say so.
                    let Ok(Ok(())) = permits.lock().map(|permits| permits.recv()) else { return };
                    let Some((index, item)) = items.lock().ok().and_then(|mut items| items.next()) else { return };
                    if done.send((index, map(&mut state, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        'all: for (index, result) in &results {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                if !take(result) {
                    break 'all;
                }
                let _ = permit.try_send(());
            }
        }
        // Threads that wait for a permit, or have a result for nobody, go home.
        drop((permit, results));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_fast() {
        let mut seen = Vec::new();
        let slow = |_: &mut (), item: u64| {
            std::thread::sleep(std::time::Duration::from_millis(if item % 7 == 0 { 5 } else { 0 }));
            item * 2
        };
        in_order(0..200_u64, 4, || (), slow, |result| {
            seen.push(result);
            true
        });
        assert_eq!(seen, (0..200).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_takes_may_stop_an_endless_input() {
        let mut seen = 0;
        in_order(0_u64.., 3, || (), |_, item| item, |_| {
            seen += 1;
            seen < 10
        });
        assert_eq!(seen, 10);
        let mut none = true;
        in_order(std::iter::empty::<u64>(), 3, || (), |_, item| item, |_| {
            none = false;
            true
        });
        assert!(none);
    }
}
