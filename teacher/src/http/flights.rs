//! The requests in flight: sent as pace and endpoints allow, tried again where that helps, waited for when a stop was
//! asked for.
//!
//! Four things are kept apart. A request that cannot be answered is delivered as such. One that the server breaks on, or
//! whose answer breaks off, is tried again so many times; a server that breaks is asked how it is first (`health.rs`). An
//! endpoint that is away (nobody listens, 502, 503, 504, 429; 403 and 404 where it answered before) costs no request a try:
//! another one takes it, and where there is none, it is waited for, however long. An endpoint that refuses every request
//! (401, 402), was never there (403, 404), or answers as another than before, is asked nothing more; where it is the last,
//! that ends the asking, and what is in flight comes to its end first.

use super::{
    HttpTeacher,
    body::Live,
    expected::Expected,
    health::{Doubt, Health},
    metrics::{self, Told},
    pace::{Failure, MAX_PAUSE},
    prompt_estimate,
    registry::Listing,
    response::{Attempt, Ending, INCOMPLETE},
    route::{Room, Route, choose},
};
use crate::{Complete, Cost, Partial, Queue, Request, TeacherError};
use distill_dataset::{Cancel, Digest};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use std::{
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, Instant},
};

/// How often cancellation, pauses and first bytes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How soon the queue is asked again when it had nothing though there was room; twice as long each time.
const FIRST_TICK: Duration = Duration::from_millis(2);
/// How often a remark is repeated while one waits.
const REMARK: Duration = Duration::from_secs(1);
/// How often what has arrived of an answer is handed on.
const SPOOL_EVERY: Duration = Duration::from_millis(250);
/// An attempt that brought so many tokens is no failure where the next goes on from them.
const PROGRESS: u64 = 64;
/// Tokens by which a limit is lowered where a context has no room for a part by a few: cut anywhere, text has other tokens.
const SEAM: u32 = 64;
/// A wait for the limits of a minute is said from here on.
const LONG_WAIT: Duration = Duration::from_secs(2);
/// So many tries tell, at the very start, that nobody is there.
pub(super) const FIRST_TRIES: u32 = 3;

/// A request and how often it was tried.
pub(super) struct Work {
    pub(super) request: Request,
    /// Digest of its prompt: requests that share it go to one endpoint.
    prompt: u64,
    /// Tries that count against it.
    pub(super) tries: u32,
    /// Tries that an endpoint was away for.
    pub(super) missed: u32,
    /// The endpoint that it failed at last.
    failed_at: Option<usize>,
    /// Whether its limit was lowered, to fit into a context.
    is_lowered: bool,
    /// Whether it is not known yet what it failed by.
    pub(super) doubt: Option<Doubt>,
}

impl Work {
    fn of(request: Request) -> Work {
        let mut prompt = Digest::new("prompt");
        for message in &request.messages {
            prompt.field(message.role.as_str()).field(&message.content);
        }
        Work {
            request,
            prompt: prompt.finish_u64(),
            tries: 0,
            missed: 0,
            failed_at: None,
            is_lowered: false,
            doubt: None,
        }
    }
}

type Landing = (Work, Attempt);

/// A request that was sent.
struct Flight {
    /// What has arrived of it.
    live: Rc<Live>,
    /// The route that it took.
    route: usize,
    /// Tokens that it is expected to take.
    expected: f64,
    /// When what had arrived was handed on last.
    spooled: Instant,
}

pub(super) struct Flights<'a> {
    pub(super) teacher: &'a HttpTeacher,
    pub(super) routes: Vec<Route>,
    now: FuturesUnordered<LocalBoxFuture<'a, Landing>>,
    in_air: HashMap<u64, Flight>,
    /// To be tried again, not before then.
    pub(super) waiting: VecDeque<(Work, Instant)>,
    /// Questions how an endpoint is.
    pub(super) checks: FuturesUnordered<LocalBoxFuture<'a, (usize, Health)>>,
    /// The servers that are registered.
    pub(super) listing: Listing<'a>,
    /// Looks at the routes' metrics, and when the next are due.
    looks: FuturesUnordered<LocalBoxFuture<'a, (usize, Told)>>,
    next_look: Instant,
    /// What answers have in common, at all endpoints.
    pub(super) expected: Expected,
    pub(super) fatal: Option<TeacherError>,
    /// Whether more might be sent if an endpoint had room.
    is_held: bool,
    remarked: Option<Instant>,
    shown: Option<Instant>,
}

/// Answers everything in the queue.
pub(super) async fn fly(teacher: &HttpTeacher, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
    let mut flights = Flights {
        teacher,
        routes: teacher.endpoints.iter().cloned().map(Route::new).collect(),
        now: FuturesUnordered::new(),
        in_air: HashMap::new(),
        waiting: VecDeque::new(),
        checks: FuturesUnordered::new(),
        listing: Listing::default(),
        looks: FuturesUnordered::new(),
        next_look: Instant::now() + metrics::EVERY,
        expected: Expected::of(queue.model()),
        fatal: None,
        is_held: false,
        remarked: None,
        shown: None,
    };
    flights.routes.iter_mut().for_each(|route| route.expected = flights.expected.at_an_endpoint());
    let (mut deadline, mut tick) = (None, FIRST_TICK);
    loop {
        let stopping = flights.fatal.is_some() || cancel.is_cancelled() || queue.is_over();
        let before = flights.now.len();
        let exhausted = !stopping && flights.dispatch(queue);
        flights.is_held = !stopping && !exhausted;
        tick = match (exhausted, flights.now.len() > before) {
            (true, true) => FIRST_TICK,
            (true, false) => (2 * tick).min(TICK),
            (false, _) => TICK,
        };
        if flights.now.is_empty() && (stopping || exhausted && flights.waiting.is_empty()) {
            return flights.fatal.map_or(Ok(()), Err);
        }
        if cancel.is_cancelled() {
            let until = *deadline.get_or_insert_with(|| Instant::now() + queue.drain_limit());
            if Instant::now() >= until {
                flights.abandon(queue);
                return flights.fatal.map_or(Ok(()), Err);
            }
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            let count = flights.now.len();
            let remark = || format!("stopping: {count} in flight, waited for {left} s at most");
            flights.remark(queue, remark);
        }
        if flights.fatal.is_some() && !cancel.is_cancelled() {
            let count = flights.now.len();
            flights.remark(queue, || format!("the endpoint refuses; {count} in flight are waited for"));
        }
        flights.ask_loads();
        flights.ask_health();
        flights.ask_registry();
        let landed = tokio::select! {
            Some(landed) = flights.now.next() => Some(landed),
            Some((route, told)) = flights.looks.next() => {
                flights.take_load(route, told);
                None
            }
            Some((route, health)) = flights.checks.next() => {
                if flights.take_health(route, &health, queue).is_break() {
                    return Ok(());
                }
                None
            }
            Some(listed) = flights.listing.now.next() => {
                flights.take_registry(listed);
                None
            }
            () = tokio::time::sleep(tick) => None,
        };
        flights.look(queue);
        flights.show(queue);
        flights.spool(queue);
        if let Some((work, attempt)) = landed
            && flights.land(work, attempt, queue, cancel).is_break()
        {
            return Ok(());
        }
    }
}

impl<'a> Flights<'a> {
    /// Sends what may be sent now; whether the queue had nothing more.
    fn dispatch(&mut self, queue: &mut dyn Queue) -> bool {
        loop {
            let now = Instant::now();
            let rooms: Vec<Room> = self.routes.iter_mut().map(|route| route.room(now)).collect();
            if rooms.iter().all(|room| *room == Room::None) {
                return false;
            }
            // A probe does not wait for its own pause as well.
            let is_probe = rooms.contains(&Room::Probe);
            let ready = self.waiting.iter().position(|(work, at)| work.doubt.is_none() && (is_probe || now >= *at));
            let work = match ready {
                Some(at) => self.waiting.remove(at).map(|(work, _)| work),
                None => queue.next().map(Work::of),
            };
            let Some(work) = work else { return true };
            let Some(work) = self.of_one_model(work, queue) else { continue };
            let Some(index) = choose(&self.routes, &rooms, work.prompt, work.failed_at) else { return false };
            self.send(work, index, rooms[index]);
        }
    }

    /// The work, which goes on from nothing that another model wrote; nothing where it cannot be afforded to begin anew.
    fn of_one_model(&self, mut work: Work, queue: &mut dyn Queue) -> Option<Work> {
        let model = work.request.partial.as_ref().and_then(|partial| partial.model.as_deref());
        if model.is_none_or(|model| self.expected.take_model(model).is_ok()) {
            return Some(work);
        }
        work.request.partial = None;
        queue.charge(work.request.id, Cost::default(), None).then_some(work)
    }

    fn send(&mut self, mut work: Work, index: usize, room: Room) {
        let (id, route) = (work.request.id, &mut self.routes[index]);
        if room == Room::Probe {
            route.probe = Some(id);
            route.check.is_well = false;
        }
        route.in_flight += 1;
        let expected = route.rates.take(prompt_estimate(&work.request), work.request.left());
        let by_ids = self.teacher.sends_ids && self.teacher.makes_ids() && route.takes_ids != Some(false);
        let ids = if by_ids { self.teacher.ids_behind(&mut work.request.partial) } else { None };
        let live = Live::new(&route.endpoint, work.request.partial.clone()).asking(&work.request.sampling);
        let live = live.expecting(route.expected.clone()).cut_at(self.teacher.most_tokens(&work.request));
        let live = Rc::new(if by_ids { live.by_ids(ids) } else { live });
        self.in_air.insert(id, Flight { live: live.clone(), route: index, expected, spooled: Instant::now() });
        let (teacher, endpoint) = (self.teacher, route.endpoint.clone());
        let flight = async move {
            let attempt = teacher.attempt(&endpoint, &work.request, &live).await;
            (work, attempt)
        };
        self.now.push(flight.boxed_local());
    }

    /// Asks the servers that tell it for their load, every now and then.
    fn ask_loads(&mut self) {
        let now = Instant::now();
        if now < self.next_look || !self.looks.is_empty() {
            return;
        }
        self.next_look = now + metrics::EVERY;
        for (index, route) in self.routes.iter().enumerate().filter(|(_, route)| route.tells_load && route.is_there()) {
            let (client, endpoint) = (&self.teacher.client, route.endpoint.clone());
            self.looks.push(async move { (index, metrics::look(client, &endpoint.place.url).await) }.boxed_local());
        }
    }

    fn take_load(&mut self, index: usize, told: Told) {
        let route = &mut self.routes[index];
        route.load = if let Told::Load(load) = told { Some(load) } else { None };
        match told {
            Told::Load(load) if load.is_full() => route.pace.refused(),
            Told::Load(_) | Told::NotNow => {}
            Told::Never => route.tells_load = false,
        }
    }

    /// Looks at first bytes, which say that an endpoint is there, and says how long others have been away.
    fn look(&mut self, queue: &mut dyn Queue) {
        let admitted = self.in_air.values().filter(|flight| flight.live.take_admitted()).map(|flight| flight.route);
        let mut admitted: Vec<usize> = admitted.collect();
        admitted.dedup();
        admitted.into_iter().for_each(|route| self.reached(route, queue));
        let now = Instant::now();
        let open: Vec<&Route> = self.routes.iter().filter(|route| route.is_open()).collect();
        if open.is_empty() && self.fatal.is_none() {
            return self.look_for_servers(queue);
        }
        let away: Vec<_> = open.iter().filter_map(|route| Some((route, route.breaker.away()?))).collect();
        let Some((route, first)) = away.iter().min_by_key(|(_, away)| away.since) else {
            return self.look_at_rates(queue);
        };
        let (since, next) = (now.duration_since(first.since).as_secs(), first.next.saturating_duration_since(now));
        let trying = route.probe.is_some();
        let why = self.teacher.say(&route.endpoint, first.why.lines().next().unwrap_or_default());
        let next = if trying { "tried now".to_owned() } else { format!("next try in {} s", next.as_secs() + 1) };
        let (count, of) = (away.len(), open.len());
        self.remark(queue, || match of {
            1 => format!("the endpoint has been away for {since} s, {next} ({why})"),
            _ => format!("{count} of {of} endpoints away, one has been away for {since} s, {next} ({why})"),
        });
    }

    /// Says for how long the limits of a minute hold everything back, where they do.
    fn look_at_rates(&mut self, queue: &mut dyn Queue) {
        let now = Instant::now();
        let wait = |route: &mut Route| {
            let (wait, limit) = route.rates.wait(now);
            (route.in_flight < route.pace.limit() && wait >= LONG_WAIT).then_some((wait, limit))
        };
        let there = self.routes.iter_mut().filter(|route| route.is_there());
        let waits: Option<Vec<_>> = there.map(wait).collect();
        if let Some((wait, limit)) = waits.and_then(|waits| waits.into_iter().min()).filter(|_| self.is_held) {
            self.remark(queue, || format!("`{limit}` is used up: the next request in {} s", wait.as_secs() + 1));
        }
    }

    /// Shows how the endpoints stand, every now and then.
    fn show(&mut self, queue: &mut dyn Queue) {
        if self.shown.is_some_and(|at| at.elapsed() < REMARK) {
            return;
        }
        self.shown = Some(Instant::now());
        // One that left, and of which nothing more is to come, is of no interest.
        let shown = self.routes.iter().filter(|route| !route.left || route.in_flight > 0);
        queue.see(shown.map(|route| route.seen(self.teacher)).collect());
    }

    /// Hands on what has arrived, every now and then.
    fn spool(&mut self, queue: &mut dyn Queue) {
        let (now, mut pieces) = (Instant::now(), Vec::new());
        for (id, flight) in self.in_air.iter_mut().filter(|(_, flight)| now >= flight.spooled + SPOOL_EVERY) {
            flight.spooled = now;
            let endpoint = &self.routes[flight.route].endpoint;
            pieces.extend(self.teacher.piece(endpoint, &flight.live, false).map(|piece| (*id, piece)));
        }
        if !pieces.is_empty() {
            queue.spool(pieces);
        }
    }

    pub(super) fn remark(&mut self, queue: &mut dyn Queue, remark: impl FnOnce() -> String) {
        if self.remarked.is_none_or(|at| at.elapsed() >= REMARK) {
            self.remarked = Some(Instant::now());
            queue.say(&remark());
        }
    }

    fn reached(&mut self, index: usize, queue: &mut dyn Queue) {
        let was_away = self.routes[index].breaker.away().is_some();
        self.routes[index].breaker.reached();
        self.routes[index].probe = None;
        if was_away && self.routes.iter().all(|route| route.breaker.away().is_none()) {
            queue.say("");
            self.remarked = None;
        }
    }

    /// Takes the end of an attempt.
    fn land(&mut self, mut work: Work, attempt: Attempt, queue: &mut dyn Queue, cancel: &Cancel) -> ControlFlow<()> {
        let id = work.request.id;
        let Some(Flight { route: index, expected, live, .. }) = self.in_air.remove(&id) else {
            return ControlFlow::Continue(());
        };
        let Attempt { ending, cost, text, late } = attempt;
        let teacher = self.teacher;
        let route = &mut self.routes[index];
        let probe = route.probe.take_if(|probe| *probe == id).is_some();
        route.in_flight -= 1;
        route.rates.settle(expected, &cost);
        if late {
            route.pace.refused();
        }
        let endpoint = &*route.endpoint.clone();
        let max_tries = teacher.config.max_retries + 1;
        let (mut is_another, mut doubt) = (false, None);
        let came = cost.completion_tokens > 0;
        self.routes[index].goes_on |= came && work.request.partial.is_some();
        let ending = match ending {
            // All of it is here but why it ended: where nobody goes on from it, there is no more to be had.
            Ending::Broken(INCOMPLETE, message) if came && !teacher.continues() => {
                Ending::Unanswerable(INCOMPLETE, message)
            }
            ending => ending,
        };
        let (message, wait, reason) = match ending {
            Ending::Done(answer) => {
                self.reached(index, queue);
                self.routes[index].pace.succeeded();
                self.take_prompt(index, &live, queue);
                return queue.deliver(id, Ok(teacher.complete_answer(*answer, &cost, work.request.partial)));
            }
            Ending::Another(why) => {
                self.reached(index, queue);
                self.close(index, teacher.say(endpoint, &why));
                is_another = true;
                (String::new(), Some(Duration::ZERO), None)
            }
            Ending::Unanswerable("refused", message)
                if live.is_by_ids() && cost.completion_tokens == 0 && self.routes[index].takes_ids != Some(true) =>
            {
                self.reached(index, queue);
                self.refuse_ids(index, &message, queue);
                (message, Some(Duration::ZERO), None)
            }
            Ending::Unanswerable("too-long", message) if !came && work.request.partial.is_some() => {
                self.reached(index, queue);
                if std::mem::replace(&mut work.is_lowered, true) || work.request.left() <= 2 * SEAM {
                    let partial = work.request.partial.unwrap_or_default();
                    return queue.deliver(id, Ok(teacher.cut_answer(partial, &cost)));
                }
                work.request.sampling.max_new_tokens -= SEAM;
                (message, Some(Duration::ZERO), None)
            }
            Ending::Unanswerable("refused", message)
                if !came && work.request.partial.is_some() && !self.routes[index].goes_on =>
            {
                // It may be the part that is refused: the next attempt begins anew.
                self.reached(index, queue);
                work.request.partial = None;
                work.tries += 1;
                (message, Some(Duration::ZERO), None)
            }
            Ending::Unanswerable(reason, message) => {
                let cost = Box::new(cost);
                self.reached(index, queue);
                let message = teacher.say(endpoint, &message);
                return queue.deliver(id, Err(TeacherError::Unanswerable { reason, message, text, cost }));
            }
            Ending::Shut(message) if self.routes[index].breaker.was_reached() => {
                doubt = Some(Doubt::of(index, &message, None, true));
                (message, None, None)
            }
            Ending::Fatal(message) | Ending::Shut(message) => {
                self.close(index, teacher.say(endpoint, &message));
                (String::new(), Some(Duration::ZERO), None)
            }
            Ending::Away { message, wait, busy } => {
                if busy {
                    self.routes[index].pace.refused();
                }
                work.missed += 1;
                self.away(&work, index, probe, Missed { message: &message, wait, busy });
                // Others take it at once.
                let others = self.routes.iter().enumerate().any(|(other, route)| other != index && route.is_there());
                let wait = if others { Some(Duration::ZERO) } else { wait };
                (message, wait, None)
            }
            Ending::Server(message, wait) => {
                doubt = Some(Doubt::of(index, &message, wait, false));
                (message, wait, None)
            }
            Ending::Broken(reason, message) => {
                let progress = teacher.continues() && cost.completion_tokens >= PROGRESS;
                work.tries = if progress { 0 } else { work.tries + 1 };
                (message, None, Some(reason))
            }
        };
        work.failed_at = Some(index);
        if work.tries >= max_tries {
            let tries = work.tries;
            let message = teacher.say(endpoint, &format!("gave up after {tries} tries: {message}"));
            let error = match reason {
                Some(reason) => TeacherError::Unanswerable { reason, message, text, cost: Box::new(cost) },
                None => TeacherError::Failed(message),
            };
            return queue.deliver(id, Err(error));
        }
        if let Some(piece) = teacher.piece(endpoint, &live, true) {
            queue.spool(vec![(id, piece)]);
        }
        if is_another {
            queue.discard(id);
        } else if teacher.continues() && cost.completion_tokens > 0 {
            let before = work.request.partial.unwrap_or_default();
            let log_probs = Partial::join_log_probs(Some(&before), live.take_log_probs());
            let ids = Partial::join_ids(Some(&before), live.told_ids());
            let model = live.model().or_else(|| before.model.clone());
            work.request.partial = Some(Partial { log_probs, ids, model, ..before.and(text, cost.completion_tokens) });
        }
        tracing::debug!(request = id, tries = work.tries, missed = work.missed, message, "retry");
        if queue.charge(id, cost, work.request.partial.as_ref()) && !cancel.is_cancelled() && self.fatal.is_none() {
            // What it found out is not known before the endpoint has said how it is.
            self.routes[index].probe = self.routes[index].probe.or(doubt.is_some().then_some(id).filter(|_| probe));
            work.doubt = doubt;
            let pause = wait.unwrap_or_else(|| backoff(work.tries + work.missed, work.request.seed));
            self.waiting.push_back((work, Instant::now() + pause));
        }
        ControlFlow::Continue(())
    }

    /// Takes note of how a prompt was taken that was answered.
    fn take_prompt(&mut self, index: usize, live: &Live, queue: &mut dyn Queue) {
        let route = &mut self.routes[index];
        if live.is_by_ids() {
            route.takes_ids = Some(true);
        }
        let remark = live.counted().and_then(|(expected, found)| route.miscounts.take(expected, found));
        if let Some(remark) = remark {
            let remark = self.teacher.say(&route.endpoint, &remark);
            tracing::warn!("{remark}");
            queue.say(&remark);
        }
    }

    /// An endpoint refused a prompt of ids, and never took one: it gets text from here on.
    fn refuse_ids(&mut self, index: usize, message: &str, queue: &mut dyn Queue) {
        let route = &mut self.routes[index];
        if route.takes_ids.replace(false).is_none() {
            let remark = format!("it does not take token ids as a prompt ({message}): it gets text from here on");
            let remark = self.teacher.say(&route.endpoint, &remark);
            tracing::warn!("{remark}");
            queue.say(&remark);
        }
    }

    /// Asks nothing more of an endpoint. Where it was the last, nothing more is asked at all.
    fn close(&mut self, index: usize, why: String) {
        if self.routes.len() > 1 {
            tracing::warn!("nothing more is asked of this endpoint in this run: {why}");
        }
        self.routes[index].closed.get_or_insert(why);
        if self.routes.iter().all(|route| !route.is_open()) {
            let why: Vec<&str> = self.routes.iter().filter_map(|route| route.closed.as_deref()).collect();
            self.fatal.get_or_insert(TeacherError::Refused(why.join("\n")));
        }
    }

    /// An endpoint did not take a request.
    pub(super) fn away(&mut self, work: &Work, index: usize, probe: bool, missed: Missed<'_>) {
        let Missed { message, wait, busy } = missed;
        let route = &mut self.routes[index];
        route.failed(&Failure { request: work.request.id, on_request: false, wait, why: message }, probe);
        let probes = route.breaker.away().map_or(0, |away| away.probes);
        route.missing |= !busy && (work.missed >= FIRST_TRIES || probes >= FIRST_TRIES - 1);
        self.wait_no_longer(index, message, wait);
    }

    /// Ends the asking where no endpoint is there, and none is waited for any longer.
    pub(super) fn wait_no_longer(&mut self, index: usize, message: &str, wait: Option<Duration>) {
        let endpoint = self.routes[index].endpoint.clone();
        let open = || self.routes.iter().filter(|route| route.is_open());
        if open().next().is_none() {
            return;
        }
        // A wrong URL is not waited for, unless it is said how long, or a job registered it.
        let waits = self.teacher.config.max_wait_s.is_some() || self.teacher.registry.is_some();
        if !waits && open().all(|route| route.missing && !route.breaker.was_reached()) {
            let at = endpoint.call(self.teacher.config.api());
            let message =
                format!("nobody answers at {at}: {message}\nhint: is the server running, and is `url` right?");
            self.fatal.get_or_insert(TeacherError::Unreachable(message));
        }
        let Some(most) = self.teacher.config.max_wait_s else { return };
        if open().all(|route| route.away_for().is_some_and(|away| away > Duration::from_secs(most))) {
            let asked = wait.map_or(String::new(), |wait| format!("; it asks to wait {} s", wait.as_secs()));
            let message = format!(
                "{message}{asked}, longer than `max-wait-s` = {most} allows\nhint: answers so far are kept; run the same command again later, or raise `max-wait-s`"
            );
            self.fatal.get_or_insert(TeacherError::Unreachable(self.teacher.say(&endpoint, &message)));
        }
    }

    /// Drops what is in flight: what had arrived of it was paid for.
    fn abandon(&mut self, queue: &mut dyn Queue) {
        self.now.clear();
        for (id, flight) in self.in_air.drain() {
            let endpoint = &self.routes[flight.route].endpoint;
            if let Some(piece) = self.teacher.piece(endpoint, &flight.live, true) {
                queue.spool(vec![(id, piece)]);
            }
            queue.charge(id, self.teacher.cost(endpoint, &flight.live), None);
        }
    }
}

/// How an endpoint did not take a request.
pub(super) struct Missed<'m> {
    pub(super) message: &'m str,
    pub(super) wait: Option<Duration>,
    /// It is there, and full.
    pub(super) busy: bool,
}

/// Exponential, with a share that depends on the request, so that retries do not come in step.
pub(super) fn backoff(tries: u32, seed: u64) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(tries.min(10));
    let jitter = Digest::new("backoff").field(&seed.to_string()).field(&tries.to_string()).finish_u64() % 1000;
    (base + base.mul_f64(jitter as f64 / 2000.0)).min(MAX_PAUSE)
}
