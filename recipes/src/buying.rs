//! How the buying of traces stands, seen from another process: what the buyers themselves wrote down, each every second or two.

use crate::view::View;
use anyhow::{Context, Result};
use distill_dataset::entries;
use distill_teacher::{Buyer, EndpointSeen, Seen, buyers, hours};
use serde_json::{Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A buyer that was heard of so many seconds ago is at work.
const FRESH_S: f64 = 15.0;

/// Who buys, or bought last, for a stage of a run.
pub struct Buying {
    buyers: Vec<Buyer>,
    now_s: f64,
}

impl Buying {
    /// Those who buy for that stage; nobody where nobody did.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of(view: &View, stage: &str) -> Result<Buying> {
        let label = format!("{}/{stage}", view.record.name);
        let mut found = Vec::new();
        for dir in folders(view.store().root())? {
            let all = buyers(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
            found.extend(all.into_values().filter(|buyer| buyer.label == label));
        }
        found.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Ok(Buying { buyers: found, now_s })
    }

    /// Whether nobody ever bought.
    pub fn is_empty(&self) -> bool {
        self.buyers.is_empty()
    }

    fn is_fresh(&self, buyer: &Buyer) -> bool {
        buyer.spent.is_none() && self.now_s - buyer.until_s < FRESH_S && !buyer.is_gone()
    }

    /// Those at work now, or the last one that was.
    fn shown(&self) -> Vec<&Buyer> {
        let now: Vec<&Buyer> = self.buyers.iter().filter(|buyer| self.is_fresh(buyer)).collect();
        if now.is_empty() { self.buyers.last().into_iter().collect() } else { now }
    }

    /// For programs.
    pub fn as_value(&self) -> Value {
        let each = self.shown().into_iter().map(|buyer| json!({ "running": self.is_fresh(buyer), "buyer": buyer }));
        json!({ "hours": self.hours(), "buyers": each.collect::<Vec<_>>() })
    }

    fn hours(&self) -> f64 {
        hours(self.buyers.iter().map(|buyer| (buyer.from_s, buyer.until_s)))
    }

    /// For people: nothing where nobody bought.
    pub fn told(&self) -> String {
        let mut text = String::new();
        for buyer in self.shown() {
            self.tell(buyer, &mut text);
        }
        if !self.is_empty() {
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "           bought in {} by {} processes so far",
                span(self.hours() * 3600.0),
                self.buyers.len()
            );
        }
        text
    }

    fn tell(&self, buyer: &Buyer, text: &mut String) {
        let seen = &buyer.seen;
        let ago = (self.now_s - buyer.until_s).max(0.0);
        let state = match (self.is_fresh(buyer), buyer.spent.is_some()) {
            (true, _) => "at work".to_owned(),
            (false, true) => format!("ended {} ago", span(ago)),
            (false, false) if buyer.is_gone() => format!("ended without a word {} ago, as a kill does it", span(ago)),
            (false, false) => format!("not heard of for {}", span(ago)),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "           {}: {state}", buyer.process);
        let eta = seen.eta_s.filter(|_| self.is_fresh(buyer));
        let eta = eta.map_or(String::new(), |eta| format!(", {} left", span(eta)));
        let _ = writeln!(text, "             {} of {} traces{eta}", seen.done, seen.total);
        if self.is_fresh(buyer) {
            let _ = writeln!(
                text,
                "             {} in flight, {:.0} tokens/s generated, {:.0} tokens/s read",
                seen.in_flight, seen.tokens_per_s, seen.prompt_tokens_per_s
            );
        }
        let tokens = seen.cap_tokens.map_or(String::new(), |cap| format!(" of {cap}"));
        let _ = write!(text, "             spent {}{tokens} tokens", seen.spent_tokens);
        let money = seen.money();
        if !money.is_empty() {
            let _ = write!(text, ", {money}");
        }
        text.push('\n');
        text.push_str(&ends(seen));
        for endpoint in &seen.endpoints {
            let why = if endpoint.why.is_empty() { String::new() } else { format!(": {}", endpoint.why) };
            let _ = writeln!(
                text,
                "             {}  {} of {} in flight, {}{}{why}",
                endpoint.url,
                endpoint.in_flight,
                endpoint.limit,
                endpoint.state,
                load(endpoint)
            );
        }
        if self.is_fresh(buyer) && !seen.remark.is_empty() {
            let _ = writeln!(text, "             {}", seen.remark);
        }
    }
}

/// How this run's answers ended, how long they are, and what went wrong.
fn ends(seen: &Seen) -> String {
    let mut text = String::new();
    if !seen.ends.is_empty() {
        let ends: Vec<String> = seen.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
        let cut = 100.0 * seen.censored();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "             ended by {} ({cut:.1} % cut)", ends.join(", "));
        let lengths: Vec<String> = seen.lengths.iter().map(|(below, count)| format!("<{below} {count}")).collect();
        let _ = writeln!(text, "             tokens {}", lengths.join(", "));
    }
    let troubles: Vec<String> =
        [(seen.retries, "tried again"), (seen.failed, "failed"), (seen.unanswered, "cannot be had")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
    if !troubles.is_empty() {
        let _ = writeln!(text, "             {}", troubles.join(", "));
    }
    text
}

/// What a server tells of its load.
fn load(endpoint: &EndpointSeen) -> String {
    let counts = [(endpoint.running, "running"), (endpoint.waiting, "waiting")];
    let counts = counts.into_iter().filter_map(|(count, what)| Some(format!(", {:.0} {what}", count?)));
    let cache = endpoint.cache.map(|used| format!(", cache {:.0} % full", 100.0 * used));
    counts.chain(cache).collect()
}

/// Seconds, as people say them.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        90.0..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Every folder of buyers in a store.
fn folders(store: &Path) -> Result<Vec<PathBuf>> {
    let list = |dir: &Path| entries(dir).with_context(|| format!("cannot read {}", dir.display()));
    let mut all = Vec::new();
    for teacher in list(&store.join("samples"))? {
        all.extend(list(&teacher.join("buyers"))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use distill_dataset::Process;
    use std::collections::BTreeMap;

    #[test]
    fn a_buyer_is_told_as_it_stands() {
        let seen = Seen {
            done: 150,
            total: 400,
            begun_with: 50,
            in_flight: 32,
            tokens_per_s: 1234.4,
            spent_tokens: 9000,
            cap_tokens: Some(10_000),
            spent_usd: 0.5,
            cap_other: serde_json::from_str(r#"{"currency":"CNY","amount":100}"#).expect("an amount"),
            ends: BTreeMap::from([("stop".to_owned(), 98), ("length".to_owned(), 2)]),
            lengths: BTreeMap::from([(128, 60), (256, 40)]),
            retries: 3,
            eta_s: Some(500.0),
            endpoints: vec![EndpointSeen {
                url: "http://n1:8000/v1".to_owned(),
                in_flight: 32,
                limit: 40,
                state: "there".to_owned(),
                running: Some(50.0),
                waiting: Some(3.0),
                cache: Some(0.964),
                ..EndpointSeen::default()
            }],
            ..Seen::default()
        };
        let buyer =
            Buyer { process: "process 7 on n1".to_owned(), from_s: 1000.0, until_s: 1200.0, seen, ..Buyer::default() };
        let told = |now_s: f64| Buying { buyers: vec![buyer.clone()], now_s }.told();
        let now = told(1201.0);
        for part in [
            "process 7 on n1: at work",
            "150 of 400 traces, 8 min left",
            "32 in flight, 1234 tokens/s",
            "9000 of 10000 tokens, CNY 0.00 of CNY 100.00, $0.50",
            "ended by length 2, stop 98 (2.0 % cut)",
            "tokens <128 60, <256 40",
            "3 tried again",
            "http://n1:8000/v1  32 of 40 in flight, there, 50 running, 3 waiting, cache 96 % full",
        ] {
            assert!(now.contains(part), "{part}\n{now}");
        }
        // One that was killed on this machine is not at work, however fresh its last word is.
        let mut ended = std::process::Command::new("true").spawn().expect("a process");
        let at = Some(Process { pid: ended.id(), ..Process::this() });
        ended.wait().expect("its end");
        let killed = Buying { buyers: vec![Buyer { at, ..buyer.clone() }], now_s: 1201.0 }.told();
        assert!(killed.contains("process 7 on n1: ended without a word 1 s ago"), "{killed}");
        assert!(!killed.contains("left"), "{killed}");
        let later = told(1500.0);
        assert!(later.contains("not heard of for 5 min") && later.contains("150 of 400 traces\n"), "{later}");
        assert!(Buying { buyers: Vec::new(), now_s: 0.0 }.told().is_empty());
    }
}
