//! What endpoints charge: what the recipe says, else what is known of the host's prices for the model, by the day and the
//! hour at which a request is sent.

use super::{EndpointConfig, HttpTeacherConfig};
use crate::{Budget, Cost, Exceeded, HostPrice};
use distill_dataset::{Amount, Currency};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// What a million tokens cost, as a recipe says it of all endpoints or of one:
///
/// ```toml
/// price = { currency = "CNY", prompt = 4.0, cached = 1.0, completion = 16.0 }
/// ```
///
/// `usd-per-million-tokens = [0.55, 2.19]` says the same of dollars, for prompts and answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Price {
    /// ISO 4217.
    pub currency: Currency,
    /// Tokens of prompts.
    pub prompt: f64,
    /// Tokens of prompts that a cache had; as much as the others where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
    /// Tokens of answers.
    pub completion: f64,
}

impl Price {
    /// The price that one of the two keys says.
    pub(super) fn said(price: Option<Price>, usd: Option<[f64; 2]>) -> Option<Price> {
        let dollars =
            |[prompt, completion]: [f64; 2]| Price { currency: Currency::USD, prompt, cached: None, completion };
        price.or(usd.map(dollars))
    }

    /// What these tokens cost.
    pub(crate) fn of(&self, tokens: &Cost) -> Amount {
        let cached = tokens.cached_tokens.min(tokens.prompt_tokens);
        let amount = (tokens.prompt_tokens - cached) as f64 * self.prompt
            + cached as f64 * self.cached.unwrap_or(self.prompt)
            + tokens.completion_tokens as f64 * self.completion;
        Amount { currency: self.currency, amount: amount / 1e6 }
    }

    /// The most that so many tokens of a prompt and of an answer cost, whatever a cache has.
    fn most(&self, [prompt, completion]: [f64; 2]) -> f64 {
        (prompt * self.prompt.max(self.cached.unwrap_or_default()) + completion * self.completion) / 1e6
    }

    fn is_free(&self) -> bool {
        self.most([1.0, 1.0]) == 0.0
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Price { currency, prompt, cached, completion } = *self;
        let told = |amount| Amount { currency, amount };
        write!(f, "{} a million tokens of prompts", told(prompt))?;
        if let Some(cached) = cached {
            write!(f, " ({cached} from a cache)")?;
        }
        write!(f, ", {completion} of answers")
    }
}

/// What an endpoint charges.
#[derive(Clone, Debug, Default)]
pub(super) enum Tariff {
    /// Nobody said.
    #[default]
    Unknown,
    /// What the recipe says.
    Said(Price),
    /// What is known of the host: a price that is in force when the teacher is made, and all that had not ended by then.
    Host(Vec<&'static HostPrice>),
}

impl Tariff {
    fn of_host(known: impl Iterator<Item = &'static HostPrice>, now: Timestamp) -> Tariff {
        let known: Vec<_> = known.filter(|price| !price.has_ended_at(now)).collect();
        if known.iter().any(|price| price.has_begun_at(now)) { Tariff::Host(known) } else { Tariff::Unknown }
    }

    /// The price of what is sent at that time: of several that hold, that of the hour, then the newest. The last one holds
    /// until the run ends.
    pub(super) fn at(&self, time: Timestamp) -> Option<Price> {
        match self {
            Tariff::Unknown => None,
            Tariff::Said(price) => Some(*price),
            Tariff::Host(known) => {
                let begun = known.iter().filter(|price| price.has_begun_at(time) && price.is_hour_at(time));
                let best = begun.max_by_key(|price| (!price.has_ended_at(time), price.hours.is_some(), price.from));
                best.map(|price| price.price())
            }
        }
    }

    /// The prices that may hold for what is reserved for at that time: at any hour, and a day later.
    fn possible(&self, time: Timestamp) -> Vec<Price> {
        match self {
            Tariff::Unknown => Vec::new(),
            Tariff::Said(price) => vec![*price],
            Tariff::Host(known) => {
                let later = time.saturating_add(SignedDuration::from_hours(24)).unwrap_or(time);
                known.iter().filter(|price| price.has_begun_at(later)).map(|price| price.price()).collect()
            }
        }
    }

    /// The most that so many tokens of a prompt and of an answer may cost in a currency, reserved at that time.
    pub(super) fn dearest(&self, currency: Currency, tokens: [f64; 2], time: Timestamp) -> f64 {
        let possible = self.possible(time).into_iter().filter(|price| price.currency == currency);
        possible.map(|price| price.most(tokens)).fold(0.0, f64::max)
    }
}

impl HttpTeacherConfig {
    /// What an endpoint charges from now on.
    pub(super) fn tariff(&self, place: &EndpointConfig, now: Timestamp) -> Tariff {
        match place.price {
            Some(price) => Tariff::Said(price),
            None => Tariff::of_host(self.host_prices(), now),
        }
    }

    /// What is known of its host's prices for the model, in force or not.
    pub fn host_prices(&self) -> impl Iterator<Item = &'static HostPrice> {
        let known = self.profile().map_or(&[][..], |host| &host.price);
        known.iter().filter(|price| price.model.eq_ignore_ascii_case(&self.model))
    }

    /// The currencies that its endpoints charge in; none where they cost nothing, or nobody said.
    pub fn currencies(&self) -> BTreeSet<Currency> {
        let now = Timestamp::now();
        let prices = self.places().into_iter().flat_map(|place| self.tariff(&place, now).possible(now));
        prices.filter(|price| !price.is_free()).map(|price| price.currency).collect()
    }

    /// The most that so many tokens of prompts and of answers may cost in a currency, with nothing from a cache: the dearest
    /// endpoint may have to do it all, at its dearest hour.
    pub fn dearest(&self, currency: Currency, prompt: u64, completion: u64) -> f64 {
        let (places, now) = (self.places(), Timestamp::now());
        let most = |tokens: [f64; 2]| {
            places.iter().map(|place| self.tariff(place, now).dearest(currency, tokens, now)).fold(0.0, f64::max)
        };
        most([prompt as f64, 0.0]) + most([0.0, completion as f64])
    }

    /// Whether a budget's money can be counted: every endpoint has a price, and all are in its currency.
    ///
    /// # Errors
    /// Expected and found, and what to do.
    pub fn check_budget(&self, budget: &Budget) -> Result<(), String> {
        let Some(most) = budget.money else { return Ok(()) };
        let key = Exceeded::Money(most).key();
        let now = Timestamp::now();
        let unpriced = |place: &EndpointConfig| matches!(self.tariff(place, now), Tariff::Unknown);
        if let Some(place) = self.places().iter().find(|place| unpriced(place)) {
            let url = if place.url.is_empty() { "what is launched" } else { &place.url };
            let ended = match (self.host_prices().next(), self.profile()) {
                (Some(_), Some(host)) => format!(" (those known of {} are not in force today)", host.title),
                _ => String::new(),
            };
            return Err(format!(
                "`{key}`: expected a price of every endpoint to count {most} by, found none of {url}{ended}\nhint: say `price` or `usd-per-million-tokens` in `teacher.http` (0 where it costs nothing), or limit `budget-tokens` instead"
            ));
        }
        let charged = self.currencies();
        if charged.iter().all(|currency| *currency == most.currency) {
            return Ok(());
        }
        let found = charged.iter().map(Currency::to_string).collect::<Vec<_>>().join(" and ");
        let hint = match charged.first().copied() {
            Some(Currency::USD) if charged.len() == 1 => "say `budget-usd`".to_owned(),
            Some(one) if charged.len() == 1 => format!("say `budget-money = {{ currency = \"{one}\", amount = … }}`"),
            _ => "take endpoints of one currency".to_owned(),
        };
        Err(format!(
            "`{key}`: expected endpoints that charge in {}, found some that charge in {found}\nhint: no money is converted: {hint}, or limit `budget-tokens` instead",
            most.currency
        ))
    }

    /// What is wrong with its prices, a line each.
    pub(super) fn wrong_prices(&self) -> Vec<String> {
        let own = (self.price, self.usd_per_million_tokens);
        let all = self.endpoints.iter().map(|place| (place.price, place.usd_per_million_tokens)).chain([own]);
        let mut wrong = Vec::new();
        for (price, usd) in all {
            if price.is_some() && usd.is_some() {
                wrong.push("`price`: expected it or `usd-per-million-tokens`, found both".to_owned());
            }
            let amounts =
                price.map(|Price { prompt, cached, completion, .. }| [Some(prompt), cached, Some(completion)]);
            let said = amounts.into_iter().flatten().flatten().map(|amount| ("price", amount));
            for (key, found) in said.chain(usd.into_iter().flatten().map(|amount| ("usd-per-million-tokens", amount))) {
                if !found.is_finite() || found < 0.0 {
                    wrong.push(format!("`{key}`: expected 0 or more, found {found}"));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::price::tests::{at, price};

    fn cny() -> Currency {
        "CNY".to_owned().try_into().expect("a currency")
    }

    fn tokens(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Cost {
        Cost { prompt_tokens, cached_tokens, completion_tokens, ..Cost::default() }
    }

    /// A host whose prices change by the hour, and on a day.
    fn host(now: &str) -> Tariff {
        let offset = "offset = \"+08:00\"";
        let known = [
            format!(
                "prompt = 4.0\ncached = 1.0\ncompletion = 16.0\nfrom = \"2025-02-09\"\nuntil = \"2025-08-21\"\n{offset}"
            ),
            format!(
                "prompt = 1.0\ncached = 0.25\ncompletion = 4.0\nfrom = \"2025-02-27\"\nuntil = \"2025-08-21\"\nhours = \"00:30-08:30\"\n{offset}"
            ),
            format!("prompt = 6.0\ncompletion = 20.0\nfrom = \"2025-08-22\"\n{offset}"),
        ];
        let known: Vec<&'static HostPrice> = known.iter().map(|keys| &*Box::leak(Box::new(price(keys)))).collect();
        Tariff::of_host(known.into_iter(), at(now))
    }

    #[test]
    fn tokens_from_a_cache_have_their_own_price() {
        let price = Price { currency: cny(), prompt: 4.0, cached: Some(1.0), completion: 16.0 };
        assert_eq!(price.of(&tokens(1_000_000, 250_000, 500_000)), Amount { currency: cny(), amount: 11.25 });
        assert_eq!(Price { cached: None, ..price }.of(&tokens(1_000_000, 250_000, 500_000)).amount, 12.0);
        assert_eq!(price.of(&tokens(10, 20, 0)).amount, 10e-6, "never more than there are");
        assert!((price.most([10.0, 1.0]) - 56e-6).abs() < 1e-12, "nothing may be in the cache");
        assert_eq!(price.to_string(), "CNY 4 a million tokens of prompts (1 from a cache), 16 of answers");
    }

    #[test]
    fn the_price_is_that_of_the_minute_at_which_a_request_is_sent_and_the_dearest_is_reserved() {
        let tariff = host("2025-03-01T00:00:00+08");
        let answers = |time: &str| tariff.at(at(time)).expect("a price").completion;
        assert_eq!(answers("2025-03-01T00:29:59+08"), 16.0);
        assert_eq!(answers("2025-03-01T00:30:00+08"), 4.0);
        assert_eq!(answers("2025-03-01T08:30:00+08"), 16.0);
        assert_eq!(answers("2025-08-21T23:59:59+08"), 16.0);
        assert_eq!(answers("2025-08-22T00:30:00+08"), 20.0, "the night's price has ended");
        let most = |time: &str| tariff.dearest(cny(), [0.0, 1e6], at(time));
        assert_eq!(most("2025-03-01T01:00:00+08"), 16.0, "a try may come by day");
        assert_eq!(most("2025-08-21T01:00:00+08"), 20.0, "or tomorrow");
        assert_eq!(tariff.dearest(Currency::USD, [1e6, 1e6], at("2025-03-01T01:00:00+08")), 0.0);
        // The night's price of the first days was not there yet.
        assert_eq!(host("2025-02-10T02:00:00+08").at(at("2025-02-10T02:00:00+08")).expect("a price").completion, 16.0);
    }

    #[test]
    fn a_price_that_is_not_in_force_when_a_run_begins_counts_nothing_and_one_that_ends_in_it_holds() {
        assert!(matches!(host("2025-02-08T12:00:00+08"), Tariff::Unknown));
        let known = price("prompt = 4.0\ncompletion = 16.0\nfrom = \"2025-02-09\"\nuntil = \"2025-08-21\"");
        let known: &'static HostPrice = Box::leak(Box::new(known));
        let tariff = |now| Tariff::of_host([known].into_iter(), at(now));
        assert!(matches!(tariff("2025-08-22T00:00:00Z"), Tariff::Unknown));
        let begun = tariff("2025-08-21T23:00:00Z");
        assert_eq!(begun.at(at("2025-08-22T03:00:00Z")).expect("the last price").completion, 16.0);
    }

    fn config(keys: &str) -> HttpTeacherConfig {
        let text = format!(r#"{{"url": "http://h/v1", "model": "deepseek-reasoner", {keys}}}"#);
        serde_json::from_str(&text).expect("a configuration")
    }

    #[test]
    fn a_price_has_two_spellings_of_which_one_is_said() {
        let yuan = r#""price": {"currency": "CNY", "prompt": 4, "cached": 1, "completion": 16}"#;
        let dollars = r#""usd-per-million-tokens": [1, 2]"#;
        assert_eq!(config(yuan).check(), Ok(()));
        assert_eq!(config(dollars).currencies(), BTreeSet::from([Currency::USD]));
        let both = config(&format!("{yuan}, {dollars}")).check().expect_err("both");
        assert!(both.contains("found both"), "{both}");
        let negative = config(&yuan.replace("16", "-16")).check().expect_err("a negative price");
        assert!(negative.contains("`price`: expected 0 or more, found -16"), "{negative}");
        let wrong = serde_json::from_str::<Price>(r#"{"currency": "yuan", "prompt": 1, "completion": 1}"#);
        assert!(wrong.expect_err("no currency").to_string().contains("ISO 4217"));
        // An endpoint's own price goes before the teacher's, whichever way each is said.
        let mut several =
            config(&format!(r#"{yuan}, "endpoints": [{{"url": "http://a/v1"}}, {{"url": "http://b/v1", {dollars}}}]"#));
        several.url.clear();
        assert_eq!(several.check(), Ok(()));
        let currencies: Vec<_> = several.places().iter().map(|place| place.price.expect("a price").currency).collect();
        assert_eq!(currencies, [cny(), Currency::USD]);
        assert_eq!((several.dearest(cny(), 1_000_000, 0), several.dearest(Currency::USD, 0, 1_000_000)), (4.0, 2.0));
    }

    #[test]
    fn a_budget_in_another_currency_or_without_a_price_is_refused() {
        let yuan = r#""price": {"currency": "CNY", "prompt": 4, "completion": 16}"#;
        let budget = |currency| Budget { money: Some(Amount { currency, amount: 100.0 }), ..Budget::default() };
        assert_eq!(config(yuan).check_budget(&budget(cny())), Ok(()));
        let error = config(yuan).check_budget(&budget(Currency::USD)).expect_err("another currency");
        assert!(error.contains("`budget-usd`: expected endpoints that charge in USD, found some that charge in CNY"));
        assert!(error.contains("budget-money = { currency = \"CNY\", amount = … }"), "{error}");
        let error = config(r#""usd-per-million-tokens": [1, 2]"#).check_budget(&budget(cny())).expect_err("dollars");
        assert!(error.contains("`budget-money`: expected") && error.contains("say `budget-usd`"), "{error}");
        let error = config(r#""host": "deepseek""#).check_budget(&budget(cny())).expect_err("no price");
        assert!(
            error.contains("found none of http://h/v1 (those known of DeepSeek are not in force today)"),
            "{error}"
        );
        let free = config(r#""usd-per-million-tokens": [0, 0]"#);
        assert_eq!(free.check_budget(&budget(cny())), Ok(()), "what costs nothing does so in any currency");
        assert_eq!(config(r#""gpus": 8.0"#).check_budget(&Budget { tokens: Some(1), ..Budget::default() }), Ok(()));
    }
}
