//! `distill verify math`: a gold answer and a model's in, a verdict with its reason out.

use super::{Answered, json, wrong};
use anyhow::Result;
use distill_dataset::TurnFormat;
use distill_verify::{Judgement, Policy, judge_answer, judge_math};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use std::{str::FromStr, time::Instant};

/// What is to be judged: an answer alone, or the response that states it somewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Comes back as it is.
    #[serde(default)]
    id: serde_json::Value,
    gold: Written,
    answer: Option<Written>,
    response: Option<String>,
}

/// Text, or a number as it is written: `2.50` has two decimals, and thirty digits are thirty.
#[derive(Debug)]
struct Written(String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match raw.get().as_bytes() {
            [b'"', ..] => serde_json::from_str(raw.get()).map(Written).map_err(D::Error::custom),
            [b'-' | b'0'..=b'9', ..] => Ok(Written(raw.get().to_owned())),
            _ => Err(D::Error::custom(format!("expected text or a number, found {}", raw.get()))),
        }
    }
}

/// The verdict.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    id: &'a serde_json::Value,
    verdict: &'static str,
    certainty: &'static str,
    /// What the gold was understood as.
    gold: &'a str,
    /// What the answer was understood as; its text where it was not.
    answer: &'a str,
    /// How the answer was found: given, or by which rule in a response.
    rule: &'static str,
    reason: &'static str,
    /// Microseconds that judging took.
    micros: u64,
}

/// One convention, turned on or off: `tuple-for-set=true`.
#[derive(Clone, Debug)]
pub struct Override(String);

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        let parsed: Result<Policy, _> = toml::from_str(text);
        parsed.map(|_| Override(text.to_owned())).map_err(|error| match text.split_once('=') {
            Some((_, "true" | "false")) => error.message().to_owned(),
            _ => format!("expected KEY=true or KEY=false, found `{text}`"),
        })
    }
}

/// The default conventions with `overrides`.
///
/// # Errors
/// When a convention is named twice.
pub fn policy(overrides: &[Override]) -> Result<Policy> {
    let lines: Vec<&str> = overrides.iter().map(|change| change.0.as_str()).collect();
    toml::from_str(&lines.join("\n")).map_err(|error| anyhow::anyhow!("--policy: {}", error.message()))
}

/// Judges line `number`.
///
/// # Errors
/// The line that says what was expected and what was found.
pub fn math(policy: &Policy, number: u64, line: Result<&str, &str>) -> Result<Answered, String> {
    let wrong = |error: &str| wrong(line, number, error);
    let line = line.map_err(wrong)?;
    let question: Question = serde_json::from_str(line).map_err(|error| {
        wrong(&format!(r#"expected {{"id", "gold", "answer"}} or {{"id", "gold", "response"}}, found: {error}"#))
    })?;
    let begin = Instant::now();
    let judgement = match (&question.answer, &question.response) {
        (Some(answer), None) => judge_answer(&answer.0, &question.gold.0, policy),
        (None, Some(response)) => {
            judge_math(TurnFormat::default().split(response).answered(), &question.gold.0, policy)
        }
        (None, None) => return Err(wrong(r#"expected "answer" or "response", found neither"#)),
        (Some(_), Some(_)) => return Err(wrong(r#"expected one of "answer" and "response", found both"#)),
    };
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Judgement { verdict, certainty, reason, found, rule, readings } = &judgement;
    let (gold, answer) = match readings {
        Some(readings) => (readings.gold.as_str(), readings.answer.as_str()),
        None => (question.gold.0.trim(), found.trim()),
    };
    let (verdict, certainty, rule) = (verdict.name(), certainty.name(), rule.name());
    let text = json(&Verdict { id: &question.id, verdict, certainty, gold, answer, rule, reason, micros });
    Ok(Answered { text, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_answered_with_what_was_understood() {
        let judged =
            math(&Policy::default(), 1, Ok(r#"{"id": {"a": 1}, "gold": "\\frac12", "response": "\\boxed{0.5}"}"#));
        let judged: serde_json::Value = serde_json::from_str(&judged.expect("a verdict").text).expect("JSON");
        assert_eq!((&judged["id"]["a"], &judged["verdict"]), (&1.into(), &"equal".into()), "{judged}");
        assert_eq!((&judged["gold"], &judged["rule"]), (&"1/2".into(), &"boxed".into()), "{judged}");
    }

    #[test]
    fn only_what_follows_the_reasoning_is_judged() {
        for (response, reason) in [
            (r"<think>\\boxed{1}</think> \\boxed{2}", "equal"),
            (r"\\boxed{2} no</think>I give up", "no-answer"),
            (r"<think>It is \\boxed{2}", "no-answer"),
            (r"<think></think>\\boxed{2}, or is it? <think>", "no-answer"),
        ] {
            let line = format!(r#"{{"gold": "2", "response": "{response}"}}"#);
            let judged = math(&Policy::default(), 1, Ok(&line)).expect("a verdict").text;
            assert!(judged.contains(&format!("\"{reason}\"")), "{response}: {judged}");
        }
    }

    #[test]
    fn numbers_are_taken_as_they_are_written() {
        for (line, verdict) in [
            (r#"{"gold": 2.50, "answer": "5/2"}"#, "equal"),
            (r#"{"gold": -3, "answer": -3}"#, "equal"),
            (r#"{"gold": 123456789012345678901234567890, "answer": "123456789012345678901234567891"}"#, "unequal"),
            (r#"{"gold": "0.1", "answer": 1e-1}"#, "equal"),
        ] {
            let judged = math(&Policy::default(), 1, Ok(line)).expect("a verdict").text;
            assert!(judged.contains(&format!("\"verdict\":\"{verdict}\"")), "{line}: {judged}");
        }
        let wrong = math(&Policy::default(), 1, Ok(r#"{"gold": [1], "answer": "1"}"#)).err().expect("a list");
        assert!(wrong.contains("expected text or a number"), "{wrong}");
    }

    #[test]
    fn a_bad_line_says_what_was_expected() {
        for (line, expected) in [
            (r#"{"gold": "1", "answer": "2", "response": "3"}"#, "found both"),
            (r#"{"gold": "1"}"#, "found neither"),
            (r#"{"answer": "1"}"#, "missing field `gold`"),
            (r#"{"gold": "1", "answr": "1"}"#, "unknown field `answr`"),
            ("not JSON", "found: expected"),
        ] {
            let wrong = math(&Policy::default(), 7, Ok(line)).err().expect(line);
            assert!(wrong.contains(expected) && wrong.contains(r#""line":7"#), "{line}: {wrong}");
        }
    }
}
