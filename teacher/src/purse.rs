//! One budget for all who buy a dataset, whichever processes and machines they are on.
//!
//! Every buyer has one file, `<answers>/buyers/<dataset>/<opening>.json`, that it alone writes: what it was granted of the
//! budget, when it bought, and how it stands. Before a buyer spends, it is granted a part under a lock, so that
//!
//! > what the others were granted, or spent where they have ended, and what this one is granted ≤ the budget
//!
//! holds whatever happens: a buyer that is killed leaves its grant, until somebody finds it dead and counts what it did
//! spend in the ledger's journal. Parts are a sixteenth of what is left, so that buyers seldom meet at the lock and little
//! lies idle when the budget ends.
//!
//! Hours are those in which anybody bought, counted once however many did; a GPU-hour is an hour of one of the GPUs that the
//! recipe says are behind the teacher.

use crate::{Answers, Asks, Budget, Cost, Exceeded, Most, Order, Seen};
use distill_dataset::{Cancel, Currency, DatasetError, Process, entries, read_regular, write_whole};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant, SystemTime},
};

/// How often a buyer says that it buys.
const BEAT: Duration = Duration::from_secs(2);
/// A buyer's file is no longer.
const MOST_BYTES: u64 = 1 << 20;
/// The part of what is left that is granted at once.
const PART: u64 = 16;

/// Somebody who buys, as others see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Buyer {
    /// Whose reservations these are; nobody's where there is one process only.
    pub owner: String,
    /// It, in words.
    pub process: String,
    /// The same, as one finds out whether it runs.
    pub at: Option<Process>,
    /// What it buys for: run and stage.
    pub label: String,
    /// Since when it has bought, in seconds since 1970.
    pub from_s: f64,
    /// When it last said that it buys.
    pub until_s: f64,
    /// The most that it may spend, of this dataset's budget.
    pub granted: Most,
    /// The currency of that budget.
    pub currency: Currency,
    /// What it spent, once it has ended.
    pub spent: Option<Cost>,
    /// How it stands.
    pub seen: Seen,
}

impl Buyer {
    /// Whether its process is known to have ended: one on another machine is not.
    pub fn is_gone(&self) -> bool {
        self.at.as_ref().and_then(|process| process.runs(&Process::this())) == Some(false)
    }
}

/// All who bought a dataset, by their openings.
pub fn buyers(dir: &Path) -> io::Result<BTreeMap<String, Buyer>> {
    let read = |path: PathBuf| {
        let opening = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
        // Replaced by one rename: what is there is whole, or of another version.
        let bytes = read_regular(&path, MOST_BYTES).ok()?;
        Some((opening, serde_json::from_slice(&bytes).ok()?))
    };
    Ok(entries(dir)?.into_iter().filter_map(read).collect())
}

/// Hours in which at least one of them bought.
pub fn hours(buyers: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let mut spans: Vec<(f64, f64)> = buyers.into_iter().filter(|(from, until)| until > from).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut total, mut reached) = (0.0, f64::NEG_INFINITY);
    for (from, until) in spans {
        total += (until - from.max(reached)).max(0.0);
        reached = reached.max(until);
    }
    total / 3600.0
}

/// This process's part of the budget.
pub(crate) struct Purse<'a, 'o> {
    answers: &'a Answers,
    dir: PathBuf,
    dataset: String,
    name: String,
    budget: Budget,
    gpus: f64,
    all: &'o (dyn Fn() -> Asks<'o> + Sync),
    /// What each opening spent, as far as the journal told when it was last read.
    known: BTreeMap<String, Cost>,
    opening: String,
    me: Buyer,
}

impl<'a, 'o> Purse<'a, 'o> {
    /// Reads what was spent so far.
    pub(crate) fn open(
        order: &Order<'o>,
        answers: &'a Answers,
        gpus: f64,
        cancel: &Cancel,
    ) -> Result<Purse<'a, 'o>, DatasetError> {
        let dir = answers.dir().join("buyers").join(&order.dataset);
        fs::create_dir_all(&dir).map_err(DatasetError::io("create", &dir))?;
        let (owner, process) = answers.owner();
        let opening = answers.opening();
        let now = now();
        let label = answers.label().to_owned();
        // Rounds of one opening are one time of buying.
        let before = buyers(&dir).map_err(DatasetError::io("read", &dir))?.remove(&opening);
        let from_s = before.map_or(now, |before| before.from_s);
        let currency = order.budget.currency();
        let at = Some(Process::this());
        let me = Buyer { owner, process, at, label, from_s, until_s: now, currency, ..Buyer::default() };
        let (name, budget, all) = (format!("budget/{}", order.dataset), order.budget, order.all);
        let dataset = order.dataset.clone();
        let mut purse = Purse { answers, dir, dataset, name, budget, gpus, all, known: BTreeMap::new(), opening, me };
        if budget.counts_costs() {
            purse.known = answers.spent(&purse.dataset, (purse.all)(), cancel)?;
            purse.me.granted = Most::of(&purse.own(), currency);
        } else {
            purse.me.granted = Most::ALL;
        }
        purse.write()?;
        Ok(purse)
    }

    /// What this opening has spent of the dataset before.
    pub(crate) fn own(&self) -> Cost {
        self.known.get(&self.opening).cloned().unwrap_or_default()
    }

    fn write(&self) -> Result<(), DatasetError> {
        let path = self.dir.join(format!("{}.json", self.opening));
        let json = serde_json::to_vec(&self.me)
            .map_err(|error| DatasetError::Journal { path: path.clone(), message: error.to_string() })?;
        write_whole(&path, &json)
    }

    fn others(&self) -> Result<BTreeMap<String, Buyer>, DatasetError> {
        let mut all = buyers(&self.dir).map_err(DatasetError::io("read", &self.dir))?;
        all.remove(&self.opening);
        Ok(all)
    }

    /// What others have of the budget, at most: granted where they live, spent where they have ended.
    fn committed(&mut self, cancel: &Cancel) -> Result<Cost, DatasetError> {
        let others = self.others()?;
        let mut dead = false;
        for buyer in others.values() {
            dead |= buyer.spent.is_none() && !self.answers.lives(&buyer.owner)?;
        }
        if dead {
            self.answers.refresh()?;
            self.answers.refresh_partial()?;
            self.known = self.answers.spent(&self.dataset, (self.all)(), cancel)?;
        }
        let mut total = Cost::default();
        for (opening, buyer) in &others {
            let cost = match &buyer.spent {
                Some(spent) => spent.clone(),
                None if self.answers.lives(&buyer.owner)? => buyer.granted.as_cost(buyer.currency),
                None => self.known.get(opening).cloned().unwrap_or_default(),
            };
            total.add(&cost);
        }
        let unlisted = self.known.iter().filter(|(opening, _)| **opening != self.opening);
        unlisted.filter(|(opening, _)| !others.contains_key(*opening)).for_each(|(_, cost)| total.add(cost));
        Ok(total)
    }

    /// Takes a part of the budget, so that `need` is granted in all; which limit does not allow it, where one does not.
    /// What the others have comes with it.
    /// Nothing where a stop was asked for.
    fn grant(&mut self, need: Most, cancel: &Cancel) -> Result<Option<(Cost, Option<Exceeded>)>, DatasetError> {
        let answers = self.answers;
        answers.locked(&self.name.clone(), cancel, || {
            let others = self.committed(cancel)?;
            let left = Most {
                tokens: self.budget.tokens.map_or(u64::MAX, |most| most.saturating_sub(others.completion_tokens)),
                money: self
                    .budget
                    .money
                    .map_or(f64::MAX, |most| (most.amount - others.money_of(most.currency)).max(0.0)),
            };
            let denied = match (self.budget.tokens, self.budget.money) {
                (Some(limit), _) if need.tokens > left.tokens => Some(Exceeded::Tokens(limit)),
                (_, Some(limit)) if need.money > left.money => Some(Exceeded::Money(limit)),
                _ => None,
            };
            if denied.is_none() {
                let tokens = need.tokens + (left.tokens - need.tokens) / PART;
                let money = need.money + (left.money - need.money) / PART as f64;
                self.me.granted = Most {
                    tokens: self.budget.tokens.map_or(u64::MAX, |_| tokens),
                    money: self.budget.money.map_or(f64::MAX, |_| money),
                };
                self.write()?;
            }
            Ok((others, denied))
        })
    }

    /// Which limit of hours is reached.
    fn over(&self) -> Result<Option<Exceeded>, DatasetError> {
        if self.budget.hours.is_none() && self.budget.gpu_hours.is_none() {
            return Ok(None);
        }
        let others = self.others()?;
        let spans = others.values().chain([&self.me]).map(|buyer| (buyer.from_s, buyer.until_s));
        let hours = hours(spans.collect::<Vec<_>>());
        if let Some(most) = self.budget.hours.filter(|most| hours >= *most) {
            return Ok(Some(Exceeded::Hours(most)));
        }
        Ok(self.budget.gpu_hours.filter(|most| hours * self.gpus >= *most).map(Exceeded::GpuHours))
    }

    /// Answers until the wallet is closed.
    fn keep(mut self, wants: &Receiver<Want>, state: &Shared, cancel: &Cancel) -> Result<(), DatasetError> {
        let mut next = Instant::now();
        loop {
            let want = wants.recv_timeout(next.saturating_duration_since(Instant::now()));
            self.me.until_s = now();
            match want {
                Ok(Want::More(need)) => {
                    let granted = self.grant(need, cancel)?;
                    let mut state = state.lock();
                    if let Some((others, denied)) = granted {
                        (state.granted, state.others, state.denied) = (self.me.granted, others, denied);
                    }
                    state.answered += 1;
                }
                Ok(Want::Seen(seen)) => self.me.seen = *seen,
                Ok(Want::End(spent)) => {
                    self.me.spent = Some(spent);
                    return self.write();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            if Instant::now() >= next {
                self.write()?;
                let over = self.over()?;
                state.lock().over = over;
                next = Instant::now() + BEAT;
            }
            state.changed.notify_all();
        }
    }
}

enum Want {
    /// So much in all is needed.
    More(Most),
    /// How the buying stands.
    Seen(Box<Seen>),
    /// It has ended; so much was spent in all.
    End(Cost),
}

#[derive(Default)]
struct State {
    granted: Most,
    others: Cost,
    denied: Option<Exceeded>,
    over: Option<Exceeded>,
    /// Wants that were answered.
    answered: u64,
    broken: Option<DatasetError>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the loop holds of its purse: it waits for no disk.
pub(crate) struct Wallet {
    wants: Sender<Want>,
    shared: Arc<Shared>,
    /// Wants that were sent, and the last of them.
    sent: u64,
    last: Most,
    counts: bool,
}

/// What became of asking for more.
pub(crate) enum More {
    /// So much is granted in all.
    Granted(Most),
    /// It is being asked for.
    Asked,
    /// A limit does not allow it.
    Denied(Exceeded),
    /// The disk refuses.
    Broken(DatasetError),
}

impl Wallet {
    /// A wallet, and the thread's work that fills it.
    pub(crate) fn of<'p, 'o>(purse: Purse<'p, 'o>, cancel: &'p Cancel) -> (Wallet, impl FnOnce() + Send + use<'p, 'o>) {
        let (wants, asked) = channel();
        let shared = Arc::new(Shared::default());
        shared.lock().granted = purse.me.granted;
        let counts = purse.budget.counts_costs();
        let filled = shared.clone();
        let keep = move || {
            let result = purse.keep(&asked, &filled, cancel);
            let mut state = filled.lock();
            (state.broken, state.answered) = (result.err(), u64::MAX);
            filled.changed.notify_all();
        };
        (Wallet { wants, shared, sent: 0, last: Most::default(), counts }, keep)
    }

    /// Asks for `need` in all; waits for the answer where nothing else can go on.
    pub(crate) fn more(&mut self, need: Most, idle: bool) -> More {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            if let Some(error) = state.broken.take() {
                return More::Broken(error);
            }
            if need.fits(state.granted) {
                return More::Granted(state.granted);
            }
            if state.answered >= self.sent {
                match state.denied.take() {
                    // What was asked for ahead may be more than there is.
                    Some(limit) if self.last.fits(need) => return More::Denied(limit),
                    _ if state.answered == u64::MAX => return More::Asked,
                    _ => self.ask(need),
                }
            }
            if !idle {
                return More::Asked;
            }
            let waited = shared.changed.wait_timeout(state, BEAT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks ahead, where little is left of what was granted.
    pub(crate) fn top_up(&mut self, used: Most, most: Most) {
        let state = self.shared.lock();
        let ahead = Most { tokens: used.tokens + 8 * most.tokens, money: used.money + 8.0 * most.money };
        let ask = self.counts && state.answered >= self.sent && state.denied.is_none() && !ahead.fits(state.granted);
        drop(state);
        if ask {
            self.ask(ahead);
        }
    }

    fn ask(&mut self, need: Most) {
        (self.sent, self.last) = (self.sent + 1, need);
        // It fails when the thread is gone, which its end tells.
        let _ = self.wants.send(Want::More(need));
    }

    /// Which limit of hours is reached.
    pub(crate) fn over(&self) -> Option<Exceeded> {
        self.shared.lock().over
    }

    /// What others have of the budget.
    pub(crate) fn others(&self) -> Cost {
        self.shared.lock().others.clone()
    }

    pub(crate) fn see(&self, seen: Seen) {
        let _ = self.wants.send(Want::Seen(Box::new(seen)));
    }

    pub(crate) fn end(self, spent: Cost) {
        let _ = self.wants.send(Want::End(spent));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
