//! Servers that come and go while they are asked, as jobs of a cluster do: who is registered is looked up every few seconds.
//! One that is new is asked like the others; one whose registration is gone gets nothing more, and what it does not answer
//! any more is answered elsewhere. Where none is registered, one is waited for.

use super::{EndpointConfig, Registry, flights::Flights, pace::Breaker, route::Route};
use crate::{Queue, TeacherError};
use futures_util::{FutureExt, future::LocalBoxFuture, stream::FuturesUnordered};
use std::time::{Duration, Instant};

/// How often it is looked up.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Who is registered, or why that cannot be told.
type Listed = Result<Vec<EndpointConfig>, String>;

/// The looking up.
#[derive(Default)]
pub(super) struct Listing<'a> {
    pub(super) now: FuturesUnordered<LocalBoxFuture<'a, Listed>>,
    /// When it was looked up last.
    last: Option<Instant>,
    /// Since when none is registered.
    none_since: Option<Instant>,
}

/// Reads the registry where no stream waits for the disk.
async fn list(registry: Registry) -> Listed {
    let read = tokio::task::spawn_blocking(move || registry());
    read.await.unwrap_or_else(|error| Err(error.to_string()))
}

impl Flights<'_> {
    /// Looks up who is registered, every now and then.
    pub(super) fn ask_registry(&mut self) {
        let Some(registry) = &self.teacher.registry else { return };
        if self.listing.now.is_empty()
            && self.listing.last.is_none_or(|last| last.elapsed() >= self.teacher.registry_every)
        {
            self.listing.last = Some(Instant::now());
            self.listing.now.push(list(registry.clone()).boxed_local());
        }
    }

    /// Takes who is registered.
    pub(super) fn take_registry(&mut self, listed: Listed) {
        let places = match listed {
            Ok(places) => places,
            Err(why) => return tracing::warn!(why, "cannot tell which servers are registered"),
        };
        let places: Vec<EndpointConfig> = places.iter().map(|place| self.teacher.config.place(place)).collect();
        for route in &mut self.routes {
            let (url, is_listed) =
                (&route.endpoint.place.url, places.iter().any(|place| place.url == route.endpoint.place.url));
            match (is_listed, route.left) {
                (true, true) => {
                    tracing::info!(url, "a server is registered again");
                    (route.left, route.breaker) = (false, Breaker::default());
                }
                (false, false) => {
                    tracing::info!(url, "a server's registration is gone");
                    route.left = true;
                }
                _ => {}
            }
        }
        for place in places {
            if self.routes.iter().all(|route| route.endpoint.place.url != place.url) {
                tracing::info!(url = place.url, "a server was registered");
                let mut route = Route::new(self.teacher.endpoint(place));
                route.expected = self.expected.at_an_endpoint();
                self.routes.push(route);
            }
        }
        if self.routes.iter().any(Route::is_open) {
            self.listing.none_since = None;
        }
    }

    /// Says that there is no server, and for how long.
    pub(super) fn look_for_servers(&mut self, queue: &mut dyn Queue) {
        let since = *self.listing.none_since.get_or_insert_with(Instant::now);
        let waited = since.elapsed();
        self.remark(queue, || format!("no server of this teacher has been registered for {} s", waited.as_secs()));
        if let Some(most) = self.teacher.config.max_wait_s.filter(|most| waited > Duration::from_secs(*most)) {
            let message = format!(
                "no server of this teacher was registered for longer than `max-wait-s` = {most} allows\nhint: answers so far are kept; `distill teacher launch RECIPE` starts one"
            );
            self.fatal.get_or_insert(TeacherError::Unreachable(message));
        }
    }
}
