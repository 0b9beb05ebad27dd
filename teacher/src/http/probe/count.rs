//! Is it the model that it says it is? Its tokenizer's counts of some texts, in several scripts, of mathematics and of code,
//! against those of our own tokenizer, and whether prompts can be sent as its ids.
//!
//! Where prompts are rendered here, the counts must be equal. Where the server applies its own template, they may all be off
//! by as much as the template takes: each is held against the first text's.

use super::{Endpoint, HttpTeacher, Probed, Question, Refusal};
use crate::http::Api;
use serde::{Deserialize, Serialize};

/// What is counted, by name. Each begins and ends with what no template's text joins.
const TEXTS: [(&str, &str); 6] = [
    ("english", "Every even integer greater than two is the sum of two primes."),
    ("chinese", "設有一個三角形，其三邊之長為三、四、五，求其面積。請一步一步地推理。"),
    ("scripts", "Докажите, что число иррационально; पाइ का मान क्या है? ما هو ناتج الجمع؟ 素数はいくつありますか。"),
    (
        "latex",
        r"Let $\int_0^{\infty} \frac{x^{2n}}{\sqrt[3]{1+x^4}}\,\mathrm{d}x = \sum_{k\geq 1}\binom{2k}{k}^{-1}\boxed{7}$.",
    ),
    ("code", "def f(xs):\n    return [x ** 2 for x in xs if x % 3 != 0]  # O(n)\n\n\tassert f([1, 2, 3]) == [1, 4]."),
    ("digits", "Add 1234567890 to 31.4159265358979 and 2^1000000007; then 🙂 👩‍🔬 naïve café ½ ≤ ∑."),
];

/// Tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct TextCount {
    /// The text's name.
    pub text: String,
    /// By our own tokenizer. In a chat, how many more than of the first text.
    pub expected: i64,
    /// By the endpoint's count, likewise.
    pub found: i64,
}

impl HttpTeacher {
    /// Looks at what the endpoint's tokens are, where there is a tokenizer to compare them with.
    pub(super) async fn look_at_tokens(&self, endpoint: &Endpoint, without: &[&str], probed: &mut Probed) {
        if self.tokenizer().is_none() {
            return;
        }
        let mut first = None;
        for (name, text) in TEXTS {
            let asked = Question { seed: 1, text: Some(text), without, ..Question::default() };
            let Ok((said, counted)) = self.say_counted(endpoint, asked).await else { continue };
            probed.spend(&said.cost);
            let Some((expected, found)) = counted else { continue };
            let (mut expected, mut found) = (i64::from(expected), i64::from(found));
            if self.config.api() == Api::Chat {
                let first = *first.get_or_insert((expected, found));
                (expected, found) = (expected - first.0, found - first.1);
            }
            probed.counts.push(TextCount { text: name.to_owned(), expected, found });
        }
        if !self.makes_ids() || self.config.prompt_ids == Some(false) {
            return;
        }
        let asked = Question { seed: 1, by_ids: true, without, ..Question::default() };
        match self.say_counted(endpoint, asked).await {
            Ok((said, counted)) => {
                probed.spend(&said.cost);
                probed.prompt_ids = counted.map(|(expected, found)| expected == found);
                probed.token_ids = Some(said.answer.ids.is_some_and(|told| !told.ids.is_empty()));
            }
            Err(Refusal::Refused(_)) => probed.prompt_ids = Some(false),
            Err(Refusal::Unanswered(_)) => {}
        }
    }

    /// Sends prompts as ids from here on where every endpoint takes them and counts as our tokenizer does, and not where one
    /// does not; with a remark for what is not as it should be. What the recipe says counts more than counts do.
    pub(super) fn choose_ids(&mut self, answered: &[&Probed]) -> Vec<String> {
        let mut remarks = Vec::new();
        for probed in answered {
            let wrong = probed.miscounts();
            if !wrong.is_empty() {
                remarks.push(format!(
                    "{}: its tokenizer counts otherwise than that of `chat`: {}; is it the model that it says it is, and is `chat` that model's folder?",
                    probed.url,
                    wrong.join(", ")
                ));
            }
        }
        let refused = answered.iter().any(|probed| probed.prompt_ids == Some(false));
        let works = answered.iter().all(|probed| probed.prompt_ids == Some(true)) && !answered.is_empty();
        let documented = self.config.profile().is_none_or(|host| host.takes_ids() != Some(false));
        if self.sends_ids && refused {
            remarks.push("an endpoint does not take token ids as a prompt: prompts are sent as text".to_owned());
        }
        self.sends_ids = match self.config.prompt_ids {
            Some(wanted) => wanted && !refused,
            None => {
                works && documented && remarks.is_empty() && answered.iter().all(|probed| !probed.counts.is_empty())
            }
        };
        remarks
    }
}

impl Probed {
    /// Texts whose tokens the endpoint counts otherwise than our own tokenizer does: expected and found.
    pub fn miscounts(&self) -> Vec<String> {
        let wrong = self.counts.iter().filter(|count| count.expected != count.found);
        wrong
            .map(|TextCount { text, expected, found }| format!("`{text}` expected {expected}, found {found}"))
            .collect()
    }

    /// What differs between these counts and those of an earlier look, in a sentence.
    pub(super) fn recounted(&self, before: &Probed) -> Option<String> {
        let then = |name: &str| before.counts.iter().find(|count| count.text == name);
        let moved = self.counts.iter().filter_map(|now| Some((now, then(&now.text)?)));
        let moved = moved.filter(|(now, then)| now.found != then.found);
        let told: Vec<String> =
            moved.map(|(now, then)| format!("`{}` {} and now {}", now.text, then.found, now.found)).collect();
        (!told.is_empty()).then(|| format!("it counts tokens otherwise than before: {}", told.join(", ")))
    }
}
