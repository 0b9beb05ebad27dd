//! One endpoint while it is asked: how much of it is in use, how fast it is asked and whether at all.

use super::{
    Endpoint, HttpTeacher,
    expected::Expected,
    health::Check,
    ids::Miscounts,
    metrics::Load,
    pace::{Breaker, Failure, Pace},
    rates::Rates,
};
use crate::EndpointSeen;
use distill_dataset::Digest;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// How far a route may be above its share before a request goes elsewhere than its prompt's cache is (Mirrokni, Thorup and
/// Zadimoghaddam, *Consistent hashing with bounded loads*, 2016).
const BOUND: f64 = 1.25;

/// An endpoint in use.
pub(super) struct Route {
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) pace: Pace,
    pub(super) breaker: Breaker,
    /// The request that finds out whether the endpoint is back.
    pub(super) probe: Option<u64>,
    pub(super) rates: Rates,
    pub(super) in_flight: usize,
    /// Whether it may tell its load.
    pub(super) tells_load: bool,
    /// What it told of it last.
    pub(super) load: Option<Load>,
    /// What is known of it since it failed.
    pub(super) check: Check,
    /// Whether its registration is gone: nothing is sent there until it is back.
    pub(super) left: bool,
    /// Whether nobody was found there, several times.
    pub(super) missing: bool,
    /// Why nothing more is asked of it in this run.
    pub(super) closed: Option<String>,
    /// What its answers have in common.
    pub(super) expected: Expected,
    /// Whether it went on from a part of an answer.
    pub(super) goes_on: bool,
    /// Whether it takes ids as a prompt, as far as that is known.
    pub(super) takes_ids: Option<bool>,
    pub(super) miscounts: Miscounts,
    place: u64,
}

/// Whether a route takes a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It does.
    Free,
    /// One, which finds out whether the endpoint is back.
    Probe,
    /// It does not.
    None,
}

impl Route {
    pub(super) fn new(endpoint: Endpoint) -> Route {
        let place = &endpoint.place;
        Route {
            pace: Pace::new(place.concurrency.unwrap_or(1)),
            breaker: Breaker::default(),
            probe: None,
            rates: Rates::new(place.requests_per_minute, place.tokens_per_minute, Instant::now()),
            in_flight: 0,
            tells_load: true,
            load: None,
            check: Check::default(),
            left: false,
            missing: false,
            closed: None,
            expected: Expected::default(),
            goes_on: false,
            takes_ids: None,
            miscounts: Miscounts::default(),
            place: Digest::new("route").field(&place.url).finish_u64(),
            endpoint: Rc::new(endpoint),
        }
    }

    pub(super) fn room(&mut self, now: Instant) -> Room {
        if !self.is_open() {
            return Room::None;
        }
        match self.breaker.away() {
            Some(away) if self.probe.is_none() && now >= away.next && self.check.is_well => Room::Probe,
            Some(_) => Room::None,
            None if self.in_flight < self.pace.limit() && self.rates.has_room(now) => Room::Free,
            None => Room::None,
        }
    }

    /// Whether it may be asked, now or later.
    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none() && !self.left
    }

    /// Whether it has to be asked how it is, before a request finds out whether it is back.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let away = self.breaker.away().is_some_and(|away| now >= away.next);
        away && self.is_open() && self.probe.is_none() && !self.check.is_well
    }

    /// How it stands, for people.
    pub(super) fn seen(&self, teacher: &HttpTeacher) -> EndpointSeen {
        let (state, why) = match (&self.closed, self.breaker.away()) {
            (Some(why), _) => ("closed", why.clone()),
            _ if self.left => ("left", "its registration is gone".to_owned()),
            (None, Some(away)) => ("away", teacher.say(&self.endpoint, away.why.lines().next().unwrap_or_default())),
            (None, None) => ("there", String::new()),
        };
        EndpointSeen {
            url: self.endpoint.place.url.clone(),
            in_flight: self.in_flight as u64,
            limit: self.pace.limit() as u64,
            state: state.to_owned(),
            why,
            running: self.load.map(|load| load.running),
            waiting: self.load.map(|load| load.waiting),
            cache: self.load.and_then(|load| load.cache),
        }
    }

    /// Whether requests may come to it, now or soon.
    pub(super) fn is_there(&self) -> bool {
        self.is_open() && self.breaker.away().is_none()
    }

    /// Takes a failure; `probe` where it is that of the probe.
    pub(super) fn failed(&mut self, failure: &Failure<'_>, probe: bool) {
        self.breaker.failed(failure, probe, Instant::now());
    }

    /// How long it will have been away at the next try.
    pub(super) fn away_for(&self) -> Option<Duration> {
        self.breaker.away().map(|away| away.next.saturating_duration_since(away.since))
    }

    /// How much a prompt prefers it, where its cache may hold the prompt's beginning (Thaler and Ravishankar,
    /// *rendezvous hashing*, 1996).
    fn score(&self, prompt: u64) -> u64 {
        // The finaliser of SplitMix64.
        let mut bits = prompt ^ self.place;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}

/// Which route a prompt takes of those that have room; not `avoided` where there is another. A probe goes before
/// everything else, so that an endpoint that comes back is used again.
pub(super) fn choose(routes: &[Route], rooms: &[Room], prompt: u64, avoided: Option<usize>) -> Option<usize> {
    let free_elsewhere = rooms.contains(&Room::Free);
    // A request that an endpoint failed at does not find out whether it is back, where another would answer it.
    let probes = |index: &usize| rooms[*index] == Room::Probe && !(free_elsewhere && avoided == Some(*index));
    if let Some(probe) = (0..rooms.len()).find(probes) {
        return Some(probe);
    }
    let free = |avoided: Option<usize>| {
        let free = rooms.iter().enumerate().filter(|(_, room)| **room == Room::Free).map(|(index, _)| index);
        free.filter(move |index| Some(*index) != avoided).collect::<Vec<usize>>()
    };
    let mut candidates = free(avoided);
    if candidates.is_empty() {
        candidates = free(None);
    }
    if candidates.len() < 2 {
        return candidates.first().copied();
    }
    let there = || routes.iter().filter(|route| route.is_there());
    let total = 1 + there().map(|route| route.in_flight).sum::<usize>();
    let limits: usize = there().map(|route| route.pace.limit()).sum();
    let share = |route: &Route| route.pace.limit() as f64 / limits.max(1) as f64;
    let bounded = candidates.iter().copied().filter(|index| {
        let route = &routes[*index];
        (route.in_flight as f64) < (BOUND * total as f64 * share(route)).ceil()
    });
    let load = |index: &usize| routes[*index].in_flight as f64 / routes[*index].pace.limit().max(1) as f64;
    bounded
        .max_by_key(|index| routes[*index].score(prompt))
        .or_else(|| candidates.iter().copied().min_by(|one, other| load(one).total_cmp(&load(other))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::EndpointConfig;

    fn endpoints(limits: &[u32]) -> Vec<Endpoint> {
        let place = |(number, limit): (usize, &u32)| EndpointConfig {
            url: format!("http://{number}/v1"),
            concurrency: Some(*limit),
            ..EndpointConfig::default()
        };
        limits.iter().enumerate().map(place).map(|place| Endpoint::of(place, None)).collect()
    }

    /// Sends a thousand prompts, eight samples each, and lets the oldest land while `limit` are in flight; how many
    /// each route got, and how many samples went where their prompt's first went.
    fn send(routes: &mut [Route], limit: usize) -> (Vec<usize>, usize) {
        let (mut sent, mut affine) = (vec![0; routes.len()], 0);
        let mut flying = std::collections::VecDeque::new();
        for prompt in 0..1000_u64 {
            let prompt = Digest::new("prompt").field(&prompt.to_string()).finish_u64();
            let mut first = None;
            for _ in 0..8 {
                if flying.len() == limit {
                    let landed: usize = flying.pop_front().expect("a flight");
                    routes[landed].in_flight -= 1;
                }
                let rooms: Vec<Room> = routes.iter_mut().map(|route| route.room(Instant::now())).collect();
                let route = choose(routes, &rooms, prompt, None).expect("room");
                routes[route].in_flight += 1;
                flying.push_back(route);
                sent[route] += 1;
                affine += usize::from(*first.get_or_insert(route) == route);
            }
        }
        (sent, affine)
    }

    #[test]
    fn prompts_stay_where_their_cache_is_and_no_endpoint_is_far_above_its_share() {
        let mut routes: Vec<_> = endpoints(&[32, 32, 64]).into_iter().map(Route::new).collect();
        let (sent, affine) = send(&mut routes, 96);
        for (count, share) in sent.iter().zip([0.25, 0.25, 0.5]) {
            assert!((*count as f64 / 8000.0 - share).abs() < 0.1, "{sent:?}");
        }
        assert!(affine > 6000, "{affine} of 8,000 samples went where their prompt was");
    }

    #[test]
    fn one_that_is_away_gets_nothing_but_a_probe_and_then_its_share_again() {
        let mut routes: Vec<_> = endpoints(&[8, 8]).into_iter().map(Route::new).collect();
        for request in 0..3 {
            let failure = Failure { request, on_request: false, wait: None, why: "gone" };
            routes[0].failed(&failure, false);
        }
        let rooms: Vec<Room> = routes.iter_mut().map(|route| route.room(Instant::now())).collect();
        assert_eq!(rooms, [Room::None, Room::Free]);
        assert_eq!(choose(&routes, &rooms, 7, None), Some(1));
        let later = Instant::now() + Duration::from_secs(5);
        let rooms: Vec<Room> = routes.iter_mut().map(|route| route.room(later)).collect();
        assert_eq!(rooms, [Room::None, Room::Free], "no request finds out whether it is back before it says so");
        assert!(routes[0].is_due(later) && !routes[1].is_due(later));
        routes[0].check.is_well = true;
        let rooms: Vec<Room> = routes.iter_mut().map(|route| route.room(later)).collect();
        assert_eq!(rooms, [Room::Probe, Room::Free]);
        assert_eq!(choose(&routes, &rooms, 7, None), Some(0), "the probe goes first");
        assert_eq!(choose(&routes, &rooms, 7, Some(0)), Some(1), "what failed there is answered elsewhere");
        routes[0].breaker.reached();
        let (sent, _) = send(&mut routes, 12);
        assert!(sent.iter().all(|count| *count > 3000), "{sent:?}");
    }
}
