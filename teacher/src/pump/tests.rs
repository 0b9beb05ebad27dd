//! The loop against teachers that break, refuse, change and stop.

use super::*;
use crate::{Answer, Asks, Budget, Identity};
use distill_dataset::{Amount, Cancel, Currency, FinishReason, Money, Owner, Problem, Progress, SamplingParams};
use std::sync::{Arc, Mutex};

/// What a fake does with a request for a problem, given how often it was asked that before.
type Behaviour = fn(&str, usize) -> Reaction;

enum Reaction {
    /// Answers as this model.
    Answer(&'static str),
    /// An attempt that broke, at this cost.
    Break(u64),
    /// It cannot be answered.
    Refuse,
    /// Failed after every retry.
    Fail,
}

struct Fake {
    behaviour: Behaviour,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn new(behaviour: Behaviour) -> Fake {
        Fake { behaviour, asked: Mutex::default() }
    }

    fn num_asked(&self) -> usize {
        self.asked.lock().expect("a lock").len()
    }
}

impl Complete for Fake {
    fn identity(&self) -> Identity {
        Identity { teacher: "fake".to_owned(), ..Identity::default() }
    }

    fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
        while let Some(request) = queue.next() {
            let text = request.messages[0].content.clone();
            loop {
                let mut asked = self.asked.lock().expect("a lock");
                let before = asked.iter().filter(|other| **other == text).count();
                asked.push(text.clone());
                drop(asked);
                let outcome = match (self.behaviour)(&text, before) {
                    Reaction::Answer(model) => Ok(Completion {
                        text: format!("<think>\n</think>{text}"),
                        finish_reason: FinishReason::Stop,
                        response_model: model.to_owned(),
                        completion_tokens: 10,
                        ..Completion::default()
                    }),
                    Reaction::Break(tokens) => {
                        let cost = Cost { completion_tokens: tokens, estimated: true, ..Cost::default() };
                        if queue.charge(request.id, cost, None) {
                            continue;
                        }
                        break;
                    }
                    Reaction::Refuse => Err(TeacherError::unanswerable("refused", format!("no {text}"))),
                    Reaction::Fail => Err(TeacherError::Failed("broken".to_owned())),
                };
                if queue.deliver(request.id, outcome).is_break() {
                    return Ok(());
                }
                break;
            }
        }
        Ok(())
    }
}

fn problem(number: u32) -> Problem {
    Problem::asking(number.to_string(), "1", "test")
}

const SAMPLING: SamplingParams =
    SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 20, log_probabilities: None };

fn ids(fake: &Fake, count: u32) -> Vec<String> {
    (0..count).map(|number| fake.identity().sample_id(&problem(number).id, &SAMPLING, 0)).collect()
}

/// Pumps one sample of each of `count` problems.
fn run(dir: &std::path::Path, fake: &Fake, count: u32, budget: Budget) -> Result<Pumped, PumpError> {
    ask(fake, &Answers::open(dir).expect("answers"), count, budget, &Cancel::default())
}

/// The same, into `answers`.
fn ask(
    teacher: &dyn Complete,
    answers: &Answers,
    count: u32,
    budget: Budget,
    cancel: &Cancel,
) -> Result<Pumped, PumpError> {
    let identity = teacher.identity();
    let asks = || -> Asks<'_> {
        Box::new((0..count).map(|number| Ok(Ask::sample(&problem(number), 0, &identity, &SAMPLING))))
    };
    let order = Order { asks: &asks, all: &asks, dataset: "all".to_owned(), budget, task: ("sample", "traces") };
    let (scratch, progress) = (answers.dir().to_owned(), Progress::hidden());
    pump(&order, teacher, answers, &Context { scratch, cancel: cancel.clone(), progress, seed: 1 })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn a_row_that_cannot_be_answered_is_an_outcome_that_is_kept_and_not_asked_again() {
    let dir = folder();
    let odd = Fake::new(|text, _| if text == "3" { Reaction::Refuse } else { Reaction::Answer("m") });
    let pumped = run(dir.path(), &odd, 8, Budget::default()).expect("every outcome");
    assert_eq!((pumped.total, pumped.done, pumped.unanswered, odd.num_asked()), (8, 8, 1, 8));
    let again = Fake::new(|_, _| Reaction::Answer("m"));
    run(dir.path(), &again, 8, Budget::default()).expect("nothing to do");
    assert_eq!(again.num_asked(), 0);
    let answers = Answers::open(dir.path()).expect("answers");
    match answers.get(&ids(&odd, 8)[3]).expect("no error") {
        Some(Answer::Unanswered { reason, message, .. }) => {
            assert_eq!((reason.as_str(), message.as_str()), ("refused", "no 3"));
        }
        other => panic!("expected a reason, found {other:?}"),
    }
}

#[test]
fn a_teacher_that_refuses_everything_is_a_mistake_and_spoils_nothing() {
    let dir = folder();
    let error = run(dir.path(), &Fake::new(|_, _| Reaction::Refuse), 40, Budget::default()).expect_err("a mistake");
    assert!(error.to_string().contains("the first 16 requests were all refused"), "{error}");
    let mended = Fake::new(|_, _| Reaction::Answer("m"));
    let pumped = run(dir.path(), &mended, 40, Budget::default()).expect("answers");
    assert_eq!((pumped.done, mended.num_asked()), (40, 40), "no refusal was kept");
    // Few refusals before the first answer are rows' own.
    let dir = folder();
    let late = Fake::new(|text, _| if text.len() == 1 { Reaction::Refuse } else { Reaction::Answer("m") });
    assert_eq!(run(dir.path(), &late, 12, Budget::default()).expect("answers").unanswered, 10);
}

#[test]
fn a_few_refusals_before_an_endpoint_refuses_everything_spoil_nothing() {
    struct Refusing;
    impl Complete for Refusing {
        fn identity(&self) -> Identity {
            Identity { teacher: "fake".to_owned(), ..Identity::default() }
        }
        fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
            let first = queue.next().expect("a request");
            let cost = Box::new(Cost { completion_tokens: 3, ..Cost::default() });
            let (reason, message, text) = ("incomplete", "it broke off".to_owned(), "half".to_owned());
            let _ = queue.deliver(first.id, Err(TeacherError::Unanswerable { reason, message, text, cost }));
            Err(TeacherError::Refused("401".to_owned()))
        }
    }
    let dir = folder();
    let answers = Answers::open(dir.path()).expect("answers");
    let asked = ask(&Refusing, &answers, 1, Budget::default(), &Cancel::default());
    assert!(matches!(asked, Err(PumpError::Teacher(_))));
    let id = Refusing.identity().sample_id(&problem(0).id, &SAMPLING, 0);
    assert!(!answers.contains(&id), "it is asked again once the endpoint answers");
    assert_eq!(answers.charges(&id).expect("charges").wasted.completion_tokens, 3, "it was paid for all the same");
}

#[test]
fn what_failed_after_every_retry_is_asked_again_by_the_next_run() {
    let dir = folder();
    let failing = Fake::new(|text, _| if text == "3" { Reaction::Fail } else { Reaction::Answer("m") });
    let pumped = run(dir.path(), &failing, 8, Budget::default()).expect("the rest");
    assert_eq!((pumped.done, pumped.failed, pumped.first_failure.as_str()), (7, 1, "broken"));
    let again = Fake::new(|_, _| Reaction::Answer("m"));
    assert_eq!(run(dir.path(), &again, 8, Budget::default()).expect("all").done, 8);
    assert_eq!(again.num_asked(), 1);
}

#[test]
fn another_model_under_the_same_name_stops_and_both_are_named() {
    let dir = folder();
    run(dir.path(), &Fake::new(|_, _| Reaction::Answer("r1-0528")), 4, Budget::default()).expect("answers");
    let moved = Fake::new(|_, _| Reaction::Answer("r1-0711"));
    let error = run(dir.path(), &moved, 8, Budget::default()).expect_err("another model").to_string();
    assert!(error.contains("`r1-0528`") && error.contains("`r1-0711`"), "{error}");
    assert_eq!(moved.num_asked(), 1, "nothing more was bought");
    let answers = Answers::open(dir.path()).expect("answers");
    let id = &ids(&moved, 8)[4];
    assert_eq!(answers.get(id).expect("no error"), None, "it is not the sample that was asked for");
    assert_eq!(answers.charges(id).expect("no error").wasted.completion_tokens, 10, "and was paid for");
}

#[test]
fn a_budget_counts_attempts_that_broke_in_this_run_and_in_later_ones() {
    let dir = folder();
    let broken =
        Fake::new(|text, before| if text == "0" && before < 3 { Reaction::Break(15) } else { Reaction::Answer("m") });
    let budget = |tokens| Budget { tokens: Some(tokens), ..Budget::default() };
    // Three broken attempts at 15 and a whole one at 10, then one more at 10: nothing of 20 fits after that.
    match run(dir.path(), &broken, 8, budget(84)) {
        Err(PumpError::Budget { limit: Exceeded::Tokens(84), done, total: 8 }) => assert_eq!(done, 2),
        other => panic!("expected the budget to stop it, found {other:?}"),
    }
    let answers = Answers::open(dir.path()).expect("answers");
    let charges = answers.charges(&ids(&broken, 1)[0]).expect("charges");
    assert_eq!((charges.attempts, charges.all.completion_tokens, charges.wasted.completion_tokens), (4, 55, 45));
    drop(answers);
    let more = Fake::new(|_, _| Reaction::Answer("m"));
    match run(dir.path(), &more, 8, budget(90)) {
        Err(PumpError::Budget { done, .. }) => {
            assert_eq!((done, more.num_asked()), (3, 1), "65 of 90 were spent before")
        }
        other => panic!("expected the budget to stop it, found {other:?}"),
    }
}

#[test]
fn a_retry_that_the_budget_does_not_allow_is_not_made() {
    let dir = folder();
    let broken = Fake::new(|_, _| Reaction::Break(20));
    match run(dir.path(), &broken, 1, Budget { tokens: Some(50), ..Budget::default() }) {
        Err(PumpError::Budget { done: 0, .. }) => assert_eq!(broken.num_asked(), 2, "40 spent, 20 more are not there"),
        other => panic!("expected the budget to stop it, found {other:?}"),
    }
}

#[test]
fn a_stop_keeps_what_was_answered() {
    let dir = folder();
    struct Stopping(Cancel);
    impl Complete for Stopping {
        fn identity(&self) -> Identity {
            Identity { teacher: "fake".to_owned(), ..Identity::default() }
        }
        fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
            // While something is in flight, what is not read ahead yet is not waited for.
            let mut taken = Vec::new();
            while taken.len() < 5 {
                taken.extend(queue.next());
                thread::yield_now();
            }
            self.0.cancel();
            assert!(queue.next().is_none(), "nothing is asked after a stop");
            for request in taken {
                let _ = queue.deliver(request.id, Ok(Completion { text: "x".to_owned(), ..Completion::default() }));
            }
            Ok(())
        }
    }
    let cancel = Cancel::default();
    let (answers, stopping) = (Answers::open(dir.path()).expect("answers"), Stopping(cancel.clone()));
    let identity = stopping.identity();
    let error = ask(&stopping, &answers, 9, Budget::default(), &cancel).expect_err("a stop");
    assert!(matches!(error, PumpError::Interrupted(_)), "{error}");
    let kept = (0..9).filter(|number| answers.contains(&identity.sample_id(&problem(*number).id, &SAMPLING, 0)));
    assert_eq!(kept.count(), 5, "what was in flight is kept");
}

#[test]
fn two_who_buy_from_one_list_buy_each_sample_once() {
    let dir = folder();
    let fakes = [0, 1].map(|_| Fake::new(|_, _| Reaction::Answer("m")));
    thread::scope(|scope| {
        for fake in &fakes {
            let dir = dir.path();
            scope.spawn(move || {
                let ttl = Duration::from_secs(60);
                let owner = Owner::register(&dir.join("owners"), ttl).expect("an owner");
                let answers = Answers::share(&dir.join("samples"), Arc::new(owner)).expect("answers");
                let pumped = ask(fake, &answers, 300, Budget::default(), &Cancel::default()).expect("every answer");
                assert_eq!((pumped.done, pumped.total), (300, 300));
            });
        }
    });
    let asked: usize = fakes.iter().map(Fake::num_asked).sum();
    assert_eq!(asked, 300, "none was bought twice");
    let answers = Answers::open(&dir.path().join("samples")).expect("answers");
    assert!(
        ids(&fakes[0], 300)
            .iter()
            .all(|id| answers.contains(id) && answers.charges(id).expect("charges").attempts == 1)
    );
}

#[test]
fn a_damaged_answer_is_bought_again_and_the_others_are_not() {
    let dir = folder();
    let first = Fake::new(|_, _| Reaction::Answer("m"));
    run(dir.path(), &first, 8, Budget::default()).expect("answers");
    // Sealed by now: its index says what is in it, and only reading tells that it is not.
    let files = std::fs::read_dir(dir.path().join("answers")).expect("a folder");
    let segment = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |data| data.len()))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).expect("a damaged segment");
    let again = Fake::new(|_, _| Reaction::Answer("m"));
    assert_eq!(run(dir.path(), &again, 8, Budget::default()).expect("answers").done, 8);
    assert!(again.num_asked() > 0, "{}: nothing was noticed", segment.display());
    let answers = Answers::open(dir.path()).expect("answers");
    for id in ids(&first, 8) {
        assert!(answers.get(&id).expect("no error").is_some(), "{id}");
    }
    let third = Fake::new(|_, _| Reaction::Answer("m"));
    run(dir.path(), &third, 8, Budget::default()).expect("nothing to do");
    assert_eq!(third.num_asked(), 0);
}

#[test]
fn taking_an_answer_waits_for_no_journal() {
    /// Holds the journal while it delivers, as a slow disk would.
    struct Slow<'a>(&'a Answers, std::sync::mpsc::Sender<usize>);
    impl Complete for Slow<'_> {
        fn identity(&self) -> Identity {
            Identity { teacher: "fake".to_owned(), ..Identity::default() }
        }
        fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
            let mut taken = Vec::new();
            while taken.len() < 40 {
                taken.extend(queue.next());
                thread::yield_now();
            }
            let journals = self.0.hold();
            for request in &taken {
                let completion = Completion { text: "x".to_owned(), ..Completion::default() };
                let _ = queue.deliver(request.id, Ok(completion));
            }
            self.1.send(taken.len()).expect("somebody waits");
            drop(journals);
            Ok(())
        }
    }
    let dir = folder();
    let (told, delivered) = std::sync::mpsc::channel();
    let path = dir.path().to_owned();
    // On a thread of its own: where taking an answer waits for the journal, it would wait for ever.
    let pumping = thread::spawn(move || {
        let answers = Answers::open(&path).expect("answers");
        let teacher = Slow(&answers, told);
        ask(&teacher, &answers, 40, Budget::default(), &Cancel::default()).expect("answers").done
    });
    let delivered = delivered.recv_timeout(Duration::from_secs(60)).expect("answers are taken while the disk is busy");
    assert_eq!((delivered, pumping.join().expect("no panic")), (40, 40));
}

/// Buys one sample of each of `count` problems as an owner of its own.
fn buy_as(dir: &std::path::Path, teacher: &dyn Complete, count: u32, budget: Budget) -> Result<Pumped, PumpError> {
    let owner = Owner::register(&dir.join("owners"), Duration::from_secs(60)).expect("an owner");
    let answers = Answers::share(&dir.join("samples"), Arc::new(owner)).expect("answers");
    ask(teacher, &answers, count, budget, &Cancel::default())
}

fn spent_in(dir: &std::path::Path, ids: &[String]) -> u64 {
    let answers = Answers::open(&dir.join("samples")).expect("answers");
    ids.iter().map(|id| answers.charges(id).expect("charges").all.completion_tokens).sum()
}

#[test]
fn several_who_buy_one_dataset_have_one_budget() {
    let dir = folder();
    let fakes = [0, 1, 2, 3].map(|_| Fake::new(|_, _| Reaction::Answer("m")));
    let budget = Budget { tokens: Some(1500), ..Budget::default() };
    thread::scope(|scope| {
        for fake in &fakes {
            let dir = dir.path();
            scope.spawn(move || match buy_as(dir, fake, 1000, budget) {
                Err(PumpError::Budget { limit: Exceeded::Tokens(1500), .. }) => {}
                other => panic!("expected the budget to stop it, found {other:?}"),
            });
        }
    });
    let asked: usize = fakes.iter().map(Fake::num_asked).sum();
    let spent = spent_in(dir.path(), &ids(&fakes[0], 1000));
    assert_eq!(spent, 10 * asked as u64);
    assert!(spent <= 1500, "{spent} tokens of 1500");
    assert!(spent > 1300, "little of a budget may lie idle: {spent} of 1500");
    // All have ended: what is left of it is there for the next, of whom 20 are reserved for 10.
    let one = Fake::new(|_, _| Reaction::Answer("m"));
    let error = buy_as(dir.path(), &one, 1000, budget).expect_err("the budget");
    assert!(matches!(error, PumpError::Budget { .. }), "{error}");
    assert!((1481..=1490).contains(&spent_in(dir.path(), &ids(&one, 1000))), "to one reservation");
}

#[test]
fn what_was_granted_to_one_who_died_is_there_again_but_for_what_it_spent() {
    let dir = folder();
    let budget = Budget { tokens: Some(500), ..Budget::default() };
    /// Takes its requests, answers a few, and is gone in the midst of it.
    struct Dying;
    impl Complete for Dying {
        fn identity(&self) -> Identity {
            Identity { teacher: "fake".to_owned(), ..Identity::default() }
        }
        fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
            for _ in 0..3 {
                let request = queue.next().expect("a request");
                let completion = Completion { text: "x".to_owned(), completion_tokens: 10, ..Completion::default() };
                let _ = queue.deliver(request.id, Ok(completion));
            }
            Err(TeacherError::Local("gone".to_owned()))
        }
    }
    buy_as(dir.path(), &Dying, 100, budget).expect_err("it is gone");
    // As one that is killed leaves it: with a grant of all, and without its end.
    let folder = dir.path().join("samples/buyers/all");
    let (opening, mut buyer) = crate::buyers(&folder).expect("buyers").into_iter().next().expect("a buyer");
    assert_eq!(buyer.spent.expect("an end").completion_tokens, 30);
    (buyer.spent, buyer.granted.tokens) = (None, 500);
    std::fs::write(folder.join(format!("{opening}.json")), serde_json::to_vec(&buyer).expect("JSON")).expect("a file");
    let fake = Fake::new(|_, _| Reaction::Answer("m"));
    buy_as(dir.path(), &fake, 100, budget).expect_err("the budget");
    assert_eq!(fake.num_asked(), 46, "30 of 500 were spent; 46 more at 10 leave less than the 20 of a reservation");
}

#[test]
fn hours_are_counted_once_however_many_buy_in_them_and_end_the_asking() {
    let spans = [(0.0, 3600.0), (1800.0, 5400.0), (7200.0, 9000.0), (8000.0, 8500.0), (9.0, 8.0)];
    assert!((crate::hours(spans) - 2.0).abs() < 1e-9);
    let dir = folder();
    struct Slow;
    impl Complete for Slow {
        fn identity(&self) -> Identity {
            Identity { teacher: "fake".to_owned(), ..Identity::default() }
        }
        fn gpus(&self) -> f64 {
            16.0
        }
        fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
            while let Some(request) = queue.next() {
                thread::sleep(Duration::from_millis(20));
                let completion = Completion { text: "x".to_owned(), completion_tokens: 10, ..Completion::default() };
                let _ = queue.deliver(request.id, Ok(completion));
            }
            Ok(())
        }
    }
    // About two seconds of sixteen GPUs.
    let budget = Budget { gpu_hours: Some(32.0 / 3600.0), ..Budget::default() };
    let error = buy_as(dir.path(), &Slow, 100_000, budget).expect_err("the budget");
    assert!(matches!(error, PumpError::Budget { limit: Exceeded::GpuHours(_), done: 1.., .. }), "{error}");
    let error = buy_as(dir.path(), &Slow, 100_000, budget).expect_err("the budget");
    assert!(matches!(error, PumpError::Budget { done: 1.., .. }), "the hours of the run before count: {error}");
}

#[test]
fn rounds_of_one_opening_are_one_time_of_buying() {
    let dir = folder();
    let owner = Owner::register(&dir.path().join("owners"), Duration::from_secs(60)).expect("an owner");
    let answers = Answers::share(&dir.path().join("samples"), Arc::new(owner)).expect("answers");
    let fake = Fake::new(|_, _| Reaction::Answer("m"));
    let buyer = |count: u32| {
        ask(&fake, &answers, count, Budget::default(), &Cancel::default()).expect("answers");
        let mut all = crate::buyers(&answers.dir().join("buyers/all")).expect("buyers");
        assert_eq!(all.len(), 1);
        all.pop_first().expect("a buyer").1
    };
    let first = buyer(2);
    thread::sleep(Duration::from_millis(20));
    let second = buyer(4);
    assert_eq!(first.from_s, second.from_s, "it has bought since then");
    assert!(second.until_s > first.until_s);
}

/// Charges in yuan: 2.5 an answer, of which a fifth of the prompt was in a cache, and 5 at most.
struct Charging(Fake);

impl Charging {
    fn yuan(amount: f64) -> Amount {
        Amount { currency: "CNY".to_owned().try_into().expect("a currency"), amount }
    }

    fn budget(amount: f64) -> Budget {
        Budget { money: Some(Charging::yuan(amount)), ..Budget::default() }
    }
}

impl Complete for Charging {
    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn max_cost(&self, _: &Request, currency: Currency) -> f64 {
        if currency == Charging::yuan(0.0).currency { 5.0 } else { 0.0 }
    }

    fn check_budget(&self, budget: &Budget) -> Result<(), String> {
        match budget.money {
            Some(most) if most.currency == Currency::USD => Err("`budget-usd`: expected yuan".to_owned()),
            _ => Ok(()),
        }
    }

    fn complete(&self, queue: &mut dyn Queue, _: &Cancel) -> Result<(), TeacherError> {
        while let Some(request) = queue.next() {
            self.0.asked.lock().expect("a lock").push(String::new());
            let mut cost_other = Money::default();
            cost_other.add(Charging::yuan(2.5));
            let tokens =
                Completion { prompt_tokens: 5, cached_tokens: 1, completion_tokens: 10, ..Completion::default() };
            let _ = queue.deliver(request.id, Ok(Completion { text: "x".to_owned(), cost_other, ..tokens }));
        }
        Ok(())
    }
}

#[test]
fn several_who_buy_one_dataset_in_yuan_have_one_budget_of_yuan() {
    let dir = folder();
    let teachers = [0, 1, 2, 3].map(|_| Charging(Fake::new(|_, _| Reaction::Answer("m"))));
    thread::scope(|scope| {
        for teacher in &teachers {
            let dir = dir.path();
            scope.spawn(move || match buy_as(dir, teacher, 1000, Charging::budget(375.0)) {
                Err(PumpError::Budget { limit: Exceeded::Money(most), .. }) => assert_eq!(most.to_string(), "CNY 375"),
                other => panic!("expected the budget to stop it, found {other:?}"),
            });
        }
    });
    let asked: usize = teachers.iter().map(|teacher| teacher.0.num_asked()).sum();
    let answers = Answers::open(&dir.path().join("samples")).expect("answers");
    let mut all = crate::Charges::default();
    for id in ids(&teachers[0].0, 1000) {
        let charges = answers.charges(&id).expect("charges");
        all.attempts += charges.attempts;
        all.all.add(&charges.all);
    }
    let spent = all.all.money_of(Charging::yuan(0.0).currency);
    assert!((spent - 2.5 * asked as f64).abs() < 1e-6 && all.all.usd == 0.0, "{:?}", all.all);
    assert!(spent <= 375.0, "CNY {spent} of 375");
    assert!(spent > 325.0, "little of a budget may lie idle: CNY {spent} of 375");
    assert_eq!(all.all.cached_tokens, asked as u64);
    let mut tally = distill_dataset::Tally::default();
    all.count_in(&mut tally);
    assert_eq!((tally.cost(), tally.cached_tokens), (all.all.money(), asked as u64), "a manifest has it too");
    // As others see it.
    let buyers = crate::buyers(&dir.path().join("samples/buyers/all")).expect("buyers");
    let told: Vec<String> = buyers.values().map(|buyer| buyer.seen.money()).collect();
    assert!(told.iter().any(|told| told.starts_with("CNY ") && told.ends_with(" of CNY 375.00")), "{told:?}");
}

#[test]
fn a_budget_that_cannot_be_counted_is_refused_before_anything_is_asked_and_dollars_spent_are_no_yuan() {
    let dir = folder();
    let teacher = Charging(Fake::new(|_, _| Reaction::Answer("m")));
    let dollars = Budget { money: Budget::money_of(Some(5.0), None), ..Budget::default() };
    let error = buy_as(dir.path(), &teacher, 8, dollars).expect_err("yuan are no dollars");
    assert!(matches!(&error, PumpError::Money(message) if message.contains("budget-usd")), "{error}");
    assert_eq!(teacher.0.num_asked(), 0);
    // A buyer of an older version, which lives no more, had dollars of this dataset.
    let samples = dir.path().join("samples");
    let folder = samples.join("buyers/all");
    std::fs::create_dir_all(&folder).expect("a folder");
    let old = r#"{"owner":"","process":"p","label":"l","from-s":1.0,"until-s":2.0,"granted":{"tokens":9,"usd":99.0},
        "spent":{"prompt_tokens":1,"completion_tokens":2,"usd":99.0,"estimated":false},"seen":{"spent-usd":99.0,"cap-usd":100.0}}"#;
    std::fs::write(folder.join("0123.json"), old).expect("a file");
    let buyer = crate::buyers(&folder).expect("buyers").remove("0123").expect("it is read");
    assert_eq!(
        (buyer.granted.money, buyer.currency, buyer.seen.money().as_str()),
        (99.0, Currency::USD, "$99.00 of $100.00")
    );
    let error = buy_as(dir.path(), &teacher, 8, Charging::budget(12.0)).expect_err("the budget");
    assert!(matches!(error, PumpError::Budget { done: 3, .. }), "7.5 of 12 are spent, 5 more are not there: {error}");
}

/// It was looked at before it was asked.
struct LookedAt(Fake);

impl Complete for LookedAt {
    fn identity(&self) -> Identity {
        self.0.identity()
    }
    fn opening_cost(&self) -> Cost {
        Cost { completion_tokens: 100, ..Cost::default() }
    }
    fn complete(&self, queue: &mut dyn Queue, cancel: &Cancel) -> Result<(), TeacherError> {
        self.0.complete(queue, cancel)
    }
}

#[test]
fn what_a_look_took_counts_against_the_budget_once_for_each_opening() {
    let dir = folder();
    let teacher = LookedAt(Fake::new(|_, _| Reaction::Answer("m")));
    let budget = |tokens: u64| Budget { tokens: Some(tokens), ..Budget::default() };
    let answers = Answers::open(dir.path()).expect("answers");
    let buy = |answers: &Answers, tokens: u64| ask(&teacher, answers, 3, budget(tokens), &Cancel::default());
    let error = buy(&answers, 110).expect_err("ten tokens are left of it");
    assert!(matches!(error, PumpError::Budget { done: 0, .. }), "{error}");
    // The same opening asks again: it looked once. 30 of 150 tokens are taken by three answers.
    assert_eq!(buy(&answers, 150).expect("answers").done, 3);
    drop(answers);
    let answers = Answers::open(dir.path()).expect("answers");
    let more = |tokens: u64| ask(&teacher, &answers, 4, budget(tokens), &Cancel::default());
    let error = more(245).expect_err("looks of both openings, and three answers");
    assert!(matches!(error, PumpError::Budget { done: 3, .. }), "{error}");
    assert_eq!(more(250).expect("one more").done, 4);
}
