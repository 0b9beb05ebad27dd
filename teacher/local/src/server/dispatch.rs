//! Between many connections and one engine: a thread that steps the engine, and for each HTTP request a flight of one or
//! more answers.
//!
//! The engine never waits for a client. What is said is put into the flight's queue, which holds one answer at most; a
//! flight that is dropped, because its client went away, is cancelled and its cache is free before the next step. An answer
//! that has ended counts no longer, however slowly its client reads it.

use crate::{
    ask::{Ask, Event},
    engine::{Engine, Load},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::mpsc as queue;

/// What one answer of a flight says.
pub(super) type Said = (usize, Event);

enum Order {
    Submit { id: u64, ask: Box<Ask>, index: usize, to: queue::UnboundedSender<Said> },
    Cancel(Vec<u64>),
    Stop,
}

/// Where requests are handed in.
#[derive(Clone)]
pub(super) struct Desk {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    room: Room,
}

/// What a prompt must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Most tokens of one request, prompt and answer.
    pub(super) context: usize,
    /// Tokens that the model was made for.
    pub(super) model_context: usize,
    /// Tokens that the cache holds.
    pub(super) cache_tokens: usize,
    /// Tokens that the model knows.
    pub(super) vocab: usize,
}

/// What the engine's thread tells everybody.
#[derive(Default)]
struct Shared {
    load: Mutex<Load>,
    alive: AtomicBool,
    next_id: AtomicU64,
    /// Answers handed in and not ended.
    open: AtomicUsize,
    /// Answers whose client went away.
    cancelled: AtomicU64,
    /// The longest that an answer waited for its first token, in microseconds.
    longest_wait_us: AtomicU64,
}

/// The answers of one HTTP request. Dropping it cancels what has not ended.
pub(super) struct Flight {
    desk: Desk,
    ids: Vec<u64>,
    open: Vec<bool>,
    events: queue::UnboundedReceiver<Said>,
}

impl Desk {
    /// Starts the engine's thread.
    pub(super) fn open(engine: Engine) -> std::io::Result<(Desk, JoinHandle<()>)> {
        let (orders, receiver) = mpsc::channel();
        let shared = Arc::new(Shared { alive: AtomicBool::new(true), ..Shared::default() });
        let room = Room {
            context: engine.context(),
            model_context: engine.model_context(),
            cache_tokens: engine.cache_tokens(),
            vocab: engine.vocab(),
        };
        let desk = Desk { orders, shared: shared.clone(), room };
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(engine, &receiver, &shared)));
            shared.alive.store(false, Ordering::SeqCst);
            if outcome.is_err() {
                tracing::error!("the engine panicked; nothing is answered any more");
            }
        };
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run)?;
        Ok((desk, thread))
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// Answers handed in and not ended.
    pub(super) fn open_answers(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Whether the engine's thread is there.
    pub(super) fn is_alive(&self) -> bool {
        self.shared.alive.load(Ordering::SeqCst)
    }

    pub(super) fn load(&self) -> Load {
        *self.shared.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cancelled(&self) -> u64 {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.shared.longest_wait_us.load(Ordering::SeqCst))
    }

    /// Hands requests in; nothing when `most` would be open then.
    pub(super) fn submit(&self, asks: Vec<Ask>, most: usize) -> Option<Flight> {
        let count = asks.len();
        let room = |open: usize| (open + count <= most).then_some(open + count);
        self.shared.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).ok()?;
        let (to, events) = queue::unbounded_channel();
        let first = self.shared.next_id.fetch_add(count as u64, Ordering::SeqCst);
        let ids: Vec<u64> = (first..first + count as u64).collect();
        for ((index, ask), id) in asks.into_iter().enumerate().zip(&ids) {
            // An engine that is gone is noticed by the closed queue.
            let _ = self.orders.send(Order::Submit { id: *id, ask: Box::new(ask), index, to: to.clone() });
        }
        Some(Flight { desk: self.clone(), open: vec![true; count], ids, events })
    }

    /// Ends the engine's thread after its current step.
    pub(super) fn close(&self) {
        let _ = self.orders.send(Order::Stop);
    }
}

impl Flight {
    /// The next thing that one of its answers says; nothing when all have ended.
    pub(super) fn poll_next(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Said>> {
        if !self.open.contains(&true) {
            return std::task::Poll::Ready(None);
        }
        let said = std::task::ready!(self.events.poll_recv(context)).unwrap_or_else(|| {
            let index = self.open.iter().position(|open| *open).unwrap_or(0);
            (index, Event::Failed("the engine is gone".to_owned()))
        });
        if matches!(said.1, Event::End { .. } | Event::Failed(_)) {
            self.open[said.0] = false;
        }
        std::task::Poll::Ready(Some(said))
    }

    /// As [`Flight::poll_next`].
    pub(super) async fn next(&mut self) -> Option<Said> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let left = self.ids.iter().zip(&self.open).filter(|(_, open)| **open).map(|(id, _)| *id);
        let left: Vec<u64> = left.collect();
        if !left.is_empty() {
            let _ = self.desk.orders.send(Order::Cancel(left));
        }
    }
}

/// Whoever waits for an answer of the engine.
struct Client {
    index: usize,
    to: queue::UnboundedSender<Said>,
    since: Instant,
    heard: bool,
}

/// Steps the engine while there is work, and sleeps while there is none.
fn run(mut engine: Engine, orders: &mpsc::Receiver<Order>, shared: &Shared) {
    let mut clients: HashMap<u64, Client> = HashMap::new();
    loop {
        let first = if engine.is_empty() { orders.recv().ok() } else { orders.try_recv().ok() };
        let idle = engine.is_empty();
        let mut next = first;
        if idle && next.is_none() {
            return;
        }
        while let Some(order) = next {
            match order {
                Order::Submit { id, ask, index, to } => match engine.submit(id, *ask) {
                    Ok(()) => {
                        clients.insert(id, Client { index, to, since: Instant::now(), heard: false });
                    }
                    Err(why) => {
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                        let _ = to.send((index, Event::Failed(why.to_string())));
                    }
                },
                Order::Cancel(ids) => {
                    for id in ids {
                        engine.cancel(id);
                        // What has ended meanwhile is no longer open, whether its client heard of it or not.
                        if clients.remove(&id).is_some() {
                            shared.open.fetch_sub(1, Ordering::SeqCst);
                            shared.cancelled.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
                Order::Stop => return,
            }
            next = orders.try_recv().ok();
        }
        engine.step(&mut |id, event| {
            let Some(client) = clients.get_mut(&id) else { return };
            if !client.heard {
                client.heard = true;
                let waited = client.since.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
                shared.longest_wait_us.fetch_max(waited, Ordering::SeqCst);
            }
            let ends = matches!(event, Event::End { .. } | Event::Failed(_));
            // A client that is gone has sent, or is about to send, its cancellation.
            let _ = client.to.send((client.index, event));
            if ends {
                clients.remove(&id);
                shared.open.fetch_sub(1, Ordering::SeqCst);
            }
        });
        *shared.load.lock().unwrap_or_else(PoisonError::into_inner) = engine.load();
    }
}
