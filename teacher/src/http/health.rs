//! How an endpoint is that a request failed at: asked by a call that costs nothing, before a row is blamed for the failure,
//! and before a request finds out whether the endpoint is back. An outage fails no row then, whoever accepts connections in
//! front of a server that is gone.

use super::{
    Endpoint, HttpTeacher,
    flights::{FIRST_TRIES, Flights, Missed, Work, backoff},
    pace::Failure,
    source_of,
};
use crate::{Queue, TeacherError};
use futures_util::FutureExt;
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// How long one waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an endpoint is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Health {
    /// It answers.
    Well,
    /// Somebody answers who does not know the question: the endpoint, or what stands before it.
    Untold(String),
    /// It does not answer, or is full (`busy`).
    Away { why: String, busy: bool },
}

/// What is known of an endpoint since it failed.
#[derive(Default)]
pub(super) struct Check {
    /// When the question was asked that is not answered yet.
    asked: Option<Instant>,
    /// Whether it is well, and no request has found out whether it is back.
    pub(super) is_well: bool,
    /// Whether it ever answered the question.
    ever: bool,
}

impl Check {
    /// Whether an endpoint that is `health` takes requests, as far as can be told.
    fn is_there(&self, health: &Health) -> bool {
        match health {
            Health::Well => true,
            Health::Untold(_) => !self.ever,
            Health::Away { .. } => false,
        }
    }
}

/// Asks an endpoint how it is.
async fn ask(teacher: &HttpTeacher, endpoint: &Endpoint) -> Health {
    let call = teacher.with_headers(teacher.client.get(endpoint.health()), endpoint);
    match tokio::time::timeout(PATIENCE, call.send()).await {
        Err(_) => {
            let why = format!("no answer within {} s to the question how it is", PATIENCE.as_secs());
            Health::Away { why, busy: false }
        }
        Ok(Err(error)) => Health::Away { why: source_of(&error), busy: false },
        Ok(Ok(response)) => match response.status() {
            status if status.is_success() => Health::Well,
            status if status.is_server_error() || status.as_u16() == 429 => {
                Health::Away { why: status.to_string(), busy: [429, 503].contains(&status.as_u16()) }
            }
            status => Health::Untold(status.to_string()),
        },
    }
}

/// A failure that may be the request's own, or its endpoint's.
pub(super) struct Doubt {
    /// Where it failed.
    pub(super) route: usize,
    at: Instant,
    message: String,
    wait: Option<Duration>,
    /// Whether it was refused as where nobody is.
    is_shut: bool,
}

impl Doubt {
    /// A failure that the server, or what stands before it, told just now.
    pub(super) fn of(route: usize, message: &str, wait: Option<Duration>, is_shut: bool) -> Doubt {
        Doubt { route, at: Instant::now(), message: message.to_owned(), wait, is_shut }
    }
}

impl Flights<'_> {
    /// Asks those endpoints how they are at which something failed, or that may be back.
    pub(super) fn ask_health(&mut self) {
        let now = Instant::now();
        for (index, route) in self.routes.iter_mut().enumerate() {
            let is_doubted = |work: &Work| work.doubt.as_ref().is_some_and(|doubt| doubt.route == index);
            let is_wanted = || route.is_due(now) || self.waiting.iter().any(|(work, _)| is_doubted(work));
            if route.check.asked.is_some() || !is_wanted() {
                continue;
            }
            route.check.asked = Some(now);
            let (teacher, endpoint) = (self.teacher, route.endpoint.clone());
            self.checks.push(async move { (index, ask(teacher, &endpoint).await) }.boxed_local());
        }
    }

    /// Takes how an endpoint is: what failed there before it was asked is judged by that.
    pub(super) fn take_health(&mut self, index: usize, health: &Health, queue: &mut dyn Queue) -> ControlFlow<()> {
        let check = &mut self.routes[index].check;
        let Some(asked) = check.asked.take() else { return ControlFlow::Continue(()) };
        let is_there = check.is_there(health);
        check.ever |= *health == Health::Well;
        for (mut work, at) in std::mem::take(&mut self.waiting) {
            match work.doubt.take_if(|doubt| doubt.route == index && doubt.at <= asked) {
                Some(doubt) => {
                    // That a path is not there says nothing of another that is not, either.
                    let is_there = is_there && (!doubt.is_shut || *health == Health::Well);
                    self.judge(work, &doubt, is_there, queue)?;
                }
                None => self.waiting.push_back((work, at)),
            }
        }
        let (now, route) = (Instant::now(), &mut self.routes[index]);
        if route.is_due(now) {
            route.check.is_well = is_there;
            match health {
                Health::Untold(why) | Health::Away { why, .. } if !is_there => {
                    route.breaker.still_away(why, now);
                    let tries = route.breaker.away().map_or(0, |away| away.probes + 1);
                    route.missing |= tries >= FIRST_TRIES && !matches!(health, Health::Away { busy: true, .. });
                    self.wait_no_longer(index, why, None);
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Blames a failure on its request where the endpoint is there, else on the endpoint.
    fn judge(&mut self, mut work: Work, doubt: &Doubt, is_there: bool, queue: &mut dyn Queue) -> ControlFlow<()> {
        let (index, id) = (doubt.route, work.request.id);
        let Doubt { message, wait, .. } = doubt;
        let route = &mut self.routes[index];
        let probe = route.probe.take_if(|probe| *probe == id).is_some();
        if is_there {
            // In a storm, only the probe tells of its own request; where all are shut out, none does.
            let is_own = route.breaker.away().is_none() || probe && !doubt.is_shut;
            work.tries += u32::from(is_own);
            work.missed += u32::from(!is_own);
            route.failed(&Failure { request: id, on_request: true, wait: *wait, why: message }, probe);
        } else {
            work.missed += 1;
            self.away(&work, index, probe, Missed { message, wait: *wait, busy: false });
        }
        if work.tries > self.teacher.config.max_retries {
            let message = format!("gave up after {} tries: {message}", work.tries);
            let message = self.teacher.say(&self.routes[index].endpoint, &message);
            return queue.deliver(id, Err(TeacherError::Failed(message)));
        }
        // Others take at once what an endpoint did not that is away.
        let others = !is_there && self.routes.iter().any(super::route::Route::is_there);
        let pause = || wait.unwrap_or_else(|| backoff(work.tries + work.missed, work.request.seed));
        let pause = if others { Duration::ZERO } else { pause() };
        self.waiting.push_back((work, Instant::now() + pause));
        ControlFlow::Continue(())
    }
}
