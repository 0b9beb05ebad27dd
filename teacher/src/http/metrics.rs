//! What a server tells of its own load, where it serves metrics in [Prometheus' text
//! format](https://prometheus.io/docs/instrumenting/exposition_formats/): the names are those that
//! [vLLM](https://docs.vllm.ai/en/latest/usage/metrics/) and [SGLang](https://docs.sglang.ai/references/production_metrics.html)
//! document.

use std::time::Duration;

/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How long one waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of it.
const MAX_BYTES: usize = 1 << 20;
/// Requests that may always wait there: a server without any idles between two.
const FEW: f64 = 8.0;
/// Requests that may wait there for each that runs.
const SHARE: f64 = 0.25;
/// A cache of which so much is used, and for which others wait, is full: more admitted would evict what is decoded.
const FULL_CACHE: f64 = 0.95;

/// Running, waiting, and the share of the cache that is used.
const NAMES: [[&str; 3]; 3] = [
    ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"],
    ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:gpu_cache_usage_perc"],
    ["sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"],
];

/// A server's load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// Requests that it works on.
    pub(super) running: f64,
    /// Requests that it has not begun.
    pub(super) waiting: f64,
    /// Share of its cache that is used, 0 to 1; nothing where it is not told.
    pub(super) cache: Option<f64>,
}

impl Load {
    /// Reads it; nothing where it is not in there.
    pub(super) fn read(text: &str) -> Option<Load> {
        NAMES.iter().find_map(|[running, waiting, cache]| {
            let cache = sum(text, cache).map(|(total, count)| total / f64::from(count));
            Some(Load { running: sum(text, running)?.0, waiting: sum(text, waiting)?.0, cache })
        })
    }

    /// Whether more wait there than keep it busy, or any for a cache that is full.
    pub(super) fn is_full(&self) -> bool {
        let waits_for_cache = self.waiting > 0.0 && self.cache.is_some_and(|used| used > FULL_CACHE);
        waits_for_cache || self.waiting > FEW.max(SHARE * self.running)
    }
}

/// The sum of a metric over its labels (an engine each), and how many there are.
fn sum(text: &str, name: &str) -> Option<(f64, u32)> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite())
    });
    let (total, count) = values.fold((0.0, 0), |(total, count), value| (total + value, count + 1));
    (count > 0).then_some((total, count))
}

/// Whether a server tells its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    /// So much.
    Load(Load),
    /// It could not be asked now.
    NotNow,
    /// It never does.
    Never,
}

/// Asks a server for its load; metrics lie at its root.
pub(super) async fn look(client: &reqwest::Client, base: &str) -> Told {
    let Ok(mut url) = reqwest::Url::parse(base) else { return Told::Never };
    url.set_path("/metrics");
    let asked = async {
        let mut response = client.get(url).send().await.ok()?;
        if !response.status().is_success() {
            return Some(if response.status().is_client_error() { Told::Never } else { Told::NotNow });
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_BYTES {
                return Some(Told::Never);
            }
        }
        Some(Load::read(&String::from_utf8_lossy(&bytes)).map_or(Told::Never, Told::Load))
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or(Told::NotNow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_of_both_servers_are_read_and_others_are_none() {
        let vllm = "# HELP vllm:num_requests_running Number of requests\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a} b\"} 96.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a} b\"} 4.0\n\
            vllm:num_requests_waiting{engine=\"0\"} 26.0 1700000000\n\
            vllm:num_requests_waiting_by_reason{engine=\"0\"} 99\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n\
            vllm:kv_cache_usage_perc{engine=\"1\"} 0.7\n";
        let load = Load::read(vllm).expect("a load");
        assert_eq!((load.running, load.waiting), (100.0, 26.0));
        assert!((load.cache.expect("a share") - 0.6).abs() < 1e-9);
        assert!(load.is_full() && !Load { waiting: 25.0, ..load }.is_full());
        let sglang = "sglang:num_running_reqs{tp=\"8\"} 2\nsglang:num_queue_reqs 7\nsglang:token_usage 0.1\n";
        let load = Load::read(sglang).expect("a load");
        assert_eq!(load, Load { running: 2.0, waiting: 7.0, cache: Some(0.1) });
        assert!(!load.is_full(), "a few keep it busy");
        assert!(Load { cache: Some(0.97), ..load }.is_full(), "those wait for the cache");
        assert!(
            !Load { cache: Some(0.97), waiting: 0.0, ..load }.is_full(),
            "a cache that is used well, for which nobody waits"
        );
        assert!(Load::read("up 1\n").is_none() && Load::read("vllm:num_requests_running NaN\n").is_none());
    }
}
