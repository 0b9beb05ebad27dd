//! How fast an endpoint is asked, and whether at all.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// Failures in a row, of whatever requests, that say that the endpoint is away.
const AWAY: u32 = 3;
/// Requests that the server broke on, one after the other, that say the same.
const BROKEN: usize = 5;
/// A longer pause that a server asks for closes it at once.
const PARKED: Duration = Duration::from_secs(60);
/// Pause before the first probe; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, unless the server asks for more.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Additive increase, multiplicative decrease of the requests in flight (Chiu and Jain, 1989).
pub(super) struct Pace {
    most: f64,
    now: f64,
    last_cut: Option<Instant>,
}

impl Pace {
    pub(super) fn new(most: u32) -> Pace {
        Pace { most: f64::from(most), now: f64::from(most), last_cut: None }
    }

    pub(super) fn limit(&self) -> usize {
        self.now as usize
    }

    pub(super) fn succeeded(&mut self) {
        self.now = (self.now + 1.0 / self.now).min(self.most);
    }

    /// One cut for each burst of refusals.
    pub(super) fn refused(&mut self) {
        if self.last_cut.is_none_or(|cut| cut.elapsed() > Duration::from_secs(1)) {
            self.now = (self.now / 2.0).max(1.0);
            self.last_cut = Some(Instant::now());
        }
    }
}

/// Whether the endpoint is there. While it is away, one request at a time is a probe; the first that it takes ends the
/// waiting.
#[derive(Default)]
pub(super) struct Breaker {
    /// Whether it ever took a request.
    ever: bool,
    streak: u32,
    broken: HashSet<u64>,
    away: Option<Away>,
}

/// An endpoint that is away.
pub(super) struct Away {
    pub(super) since: Instant,
    /// When it is tried again.
    pub(super) next: Instant,
    /// How often it was tried.
    pub(super) probes: u32,
    /// What was said last.
    pub(super) why: String,
}

/// A request that the endpoint did not take.
pub(super) struct Failure<'a> {
    pub(super) request: u64,
    /// Whether the server broke on this very request, as far as one can tell.
    pub(super) on_request: bool,
    /// How long the server asks to wait.
    pub(super) wait: Option<Duration>,
    pub(super) why: &'a str,
}

impl Breaker {
    /// The endpoint took a request.
    pub(super) fn reached(&mut self) {
        *self = Breaker { ever: true, ..Breaker::default() };
    }

    /// Whether it ever took a request.
    pub(super) fn was_reached(&self) -> bool {
        self.ever
    }

    /// The endpoint did not take a request, which was a probe or not.
    pub(super) fn failed(&mut self, failure: &Failure<'_>, probe: bool, now: Instant) {
        if failure.on_request {
            self.broken.insert(failure.request);
        } else {
            self.streak += 1;
        }
        let wait = failure.wait.unwrap_or_default();
        if let Some(away) = &mut self.away {
            failure.why.clone_into(&mut away.why);
            if probe {
                away.probes += 1;
                away.next = now + wait.max(pause(away.probes));
            } else {
                away.next = away.next.max(now + wait);
            }
        } else if self.streak >= AWAY || self.broken.len() >= BROKEN || wait > PARKED {
            let next = now + wait.max(pause(0));
            self.away = Some(Away { since: now, next, probes: 0, why: failure.why.to_owned() });
        }
    }

    /// It did not answer when it was asked whether it is back.
    pub(super) fn still_away(&mut self, why: &str, now: Instant) {
        if let Some(away) = &mut self.away {
            why.clone_into(&mut away.why);
            away.probes += 1;
            away.next = away.next.max(now + pause(away.probes));
        }
    }

    /// The endpoint, while it is away.
    pub(super) fn away(&self) -> Option<&Away> {
        self.away.as_ref()
    }
}

fn pause(probes: u32) -> Duration {
    (FIRST_PAUSE * 2_u32.saturating_pow(probes.min(10))).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: u64, on_request: bool, wait: Option<u64>) -> Failure<'static> {
        Failure { request, on_request, wait: wait.map(Duration::from_secs), why: "refused" }
    }

    #[test]
    fn a_burst_cuts_the_pace_once_and_answers_raise_it_slowly() {
        let mut pace = Pace::new(16);
        pace.refused();
        pace.refused();
        assert_eq!(pace.limit(), 8, "one cut for a burst");
        (0..200).for_each(|_| pace.succeeded());
        assert_eq!(pace.limit(), 16, "and back, slowly");
    }

    #[test]
    fn three_failures_in_a_row_are_an_endpoint_that_is_away_and_one_success_ends_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for request in 0..2 {
            breaker.failed(&refused(request, false, None), false, now);
        }
        assert!(breaker.away().is_none());
        breaker.reached();
        for request in 0..3 {
            assert!(breaker.away().is_none(), "an answer starts the count again");
            breaker.failed(&refused(request, false, None), false, now);
        }
        let first = breaker.away().expect("away").next;
        breaker.failed(&refused(3, false, None), true, now);
        assert!(breaker.away().expect("away").next > first, "probes come less and less often");
        breaker.reached();
        assert!(breaker.away().is_none() && breaker.was_reached());
    }

    #[test]
    fn one_request_that_the_server_breaks_on_is_no_endpoint_that_is_away() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (0..20).for_each(|_| breaker.failed(&refused(7, true, None), false, now));
        assert!(breaker.away().is_none());
        (0..5).for_each(|request| breaker.failed(&refused(request, true, None), false, now));
        assert!(breaker.away().is_some(), "a storm is");
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_kept_however_long() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(&refused(0, false, Some(24367)), false, now);
        assert_eq!(breaker.away().expect("parked").next, now + Duration::from_secs(24367));
        breaker.failed(&refused(1, false, Some(5)), false, now);
        assert_eq!(breaker.away().expect("parked").next, now + Duration::from_secs(24367));
    }
}
