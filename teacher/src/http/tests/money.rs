//! Money at endpoints: tokens from a cache, other currencies, budgets, against the simulator that tells what it had cached.

use super::{simulated::teacher, *};
use crate::{Answers, Ask, Asks, Cost, Exceeded, Order, PumpError, pump};
use distill_dataset::{Context, Problem, Progress};
use distill_simulator::{Fault, Script, Simulator};

const LENGTHS: (usize, usize) = (20, 60);
const SAMPLING: SamplingParams =
    SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: None };

fn cny() -> Currency {
    "CNY".to_owned().try_into().expect("a currency")
}

fn problem(number: u32) -> Problem {
    Problem::asking(format!("What is {number}?"), "7", "test")
}

/// An endpoint with DeepSeek's prices of 2025.
fn at(url: String) -> HttpTeacherConfig {
    let price = Some(Price { currency: cny(), prompt: 4.0, cached: Some(1.0), completion: 16.0 });
    HttpTeacherConfig { api: Some(Api::Completions), price, max_retries: 12, ..config(url) }
}

/// Asks for one sample of each of `count` problems; what they cost all together.
fn buy(teacher: &HttpTeacher, dir: &std::path::Path, count: u32, budget: Budget) -> (Result<(), PumpError>, Cost) {
    let answers = Answers::open(dir).expect("answers");
    let identity = teacher.identity();
    let asks = || -> Asks<'_> {
        Box::new((0..count).map(|number| Ok(Ask::sample(&problem(number), 0, &identity, &SAMPLING))))
    };
    let order = Order { asks: &asks, all: &asks, dataset: "all".to_owned(), budget, task: ("sample", "traces") };
    let (scratch, progress) = (dir.to_owned(), Progress::hidden());
    let context = Context { scratch, cancel: Cancel::default(), progress, seed: 1 };
    let pumped = pump(&order, teacher, &answers, &context).map(drop);
    let mut cost = Cost::default();
    for number in 0..count {
        let id = identity.sample_id(&problem(number).id, &SAMPLING, 0);
        cost.add(&answers.charges(&id).expect("charges").all);
    }
    (pumped, cost)
}

/// What the simulator's log costs by those prices, eight tokens of each prompt of 12 and more from a cache.
fn of_log(simulator: &Simulator) -> f64 {
    let of = |prompt: usize, sent: usize| ((prompt - 8) as f64 * 4.0 + 8.0 + sent as f64 * 16.0) / 1e6;
    simulator.log().iter().map(|served| of(12 + served.from, served.sent)).sum()
}

#[test]
fn tokens_from_a_cache_are_settled_at_their_price_in_the_endpoint_s_currency() {
    let script = Script { lengths: LENGTHS, cached: 8, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (pumped, cost) = buy(&teacher(at(simulator.url())), dir.path(), 50, Budget::default());
    pumped.expect("answers");
    assert_eq!((cost.prompt_tokens, cost.cached_tokens, cost.usd), (600, 400, 0.0));
    let expected = of_log(&simulator);
    assert!((cost.money_of(cny()) - expected).abs() < 1e-12, "{:?}, expected {expected}", cost.other);
}

#[test]
fn a_budget_of_yuan_holds_with_a_cache_and_streams_that_break() {
    let faults = vec![Fault::Cut, Fault::Reset, Fault::Unavailable];
    let script = Script { lengths: LENGTHS, cached: 8, harmed: 0.2, faults, seed: 5, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let most = distill_dataset::Amount { currency: cny(), amount: 0.02 };
    let budget = Budget { money: Some(most), ..Budget::default() };
    let teacher = teacher(at(simulator.url()));
    let (pumped, cost) = buy(&teacher, dir.path(), 200, budget);
    match pumped {
        Err(PumpError::Budget { limit: Exceeded::Money(limit), done, .. }) => {
            assert!(limit == most && done > 10, "{done}")
        }
        other => panic!("expected the budget to stop it, found {other:?}"),
    }
    let spent = cost.money_of(cny());
    assert!(spent > 0.015 && spent <= most.amount, "CNY {spent} of {most}");
    // The same dataset by dollars: nothing is converted, and nothing more is asked.
    let before = simulator.num_requests();
    let dollars = Budget { money: Budget::money_of(Some(100.0), None), ..Budget::default() };
    match buy(&teacher, dir.path(), 200, dollars).0 {
        Err(PumpError::Money(message)) => assert!(message.contains("charge in CNY"), "{message}"),
        other => panic!("expected a refusal, found {other:?}"),
    }
    assert_eq!(simulator.num_requests(), before);
}

#[test]
fn two_endpoints_that_charge_in_two_currencies_are_counted_in_both() {
    let script = Script { lengths: LENGTHS, cached: 8, ..Script::default() };
    let [one, two] = [(), ()].map(|()| Simulator::start(script.clone()).expect("a server"));
    let dollars =
        EndpointConfig { url: two.url(), usd_per_million_tokens: Some([1.0, 10.0]), ..EndpointConfig::default() };
    let endpoints = vec![EndpointConfig { url: one.url(), ..EndpointConfig::default() }, dollars];
    let config = HttpTeacherConfig { endpoints, ..at(String::new()) };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (pumped, cost) = buy(&teacher(config), dir.path(), 80, Budget::default());
    pumped.expect("answers");
    let usd: f64 = two.log().iter().map(|served| (12.0 + served.sent as f64 * 10.0) / 1e6).sum();
    assert!(usd > 0.0 && (cost.usd - usd).abs() < 1e-12, "{} expected {usd}", cost.usd);
    let yuan = of_log(&one);
    assert!(yuan > 0.0 && (cost.money_of(cny()) - yuan).abs() < 1e-12, "{:?} expected {yuan}", cost.other);
}
