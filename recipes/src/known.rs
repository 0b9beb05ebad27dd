//! `distill teacher hosts`, `models` and `probe`: what the profiles say, and what an endpoint shows of itself, for people.

use crate::{
    explained::Misused,
    identity::Outside,
    recipe::{Recipe, TeacherConfig},
    teachers::{Secrets, Teacher},
};
use anyhow::{Context, Result, ensure};
use distill_dataset::Store;
use distill_teacher::{HostProfile, ModelProfile, Probed};
use std::fmt::Write;

/// All hosts in a line each, or one of them whole.
///
/// # Errors
/// When there is none of that name.
pub fn hosts(name: Option<&str>) -> Result<String> {
    let Some(name) = name else {
        let mut text = String::new();
        for host in HostProfile::all() {
            let kind = if host.self_hosted { "self-hosted" } else { "service" };
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{:<14} {kind:<12} {:<12} {}", host.name, host.call.api, host.title);
        }
        return Ok(text);
    };
    let names = HostProfile::all().iter().map(|host| host.name).collect::<Vec<_>>().join(", ");
    let host = HostProfile::of(name).with_context(|| format!("no host `{name}`: expected one of {names}"))?;
    let (call, answer) = (&host.call, &host.answer);
    let mut text = format!("{} ({})\n\n", host.title, host.name);
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:<18} {value}");
    };
    line("base, e.g.", &call.url);
    line("call", &call.api);
    line("completions", if host.completes() { "of prompts that are rendered here" } else { "no" });
    line("key", &call.key_header.as_ref().map_or("Authorization: Bearer".to_owned(), |header| format!("in {header}")));
    if let Some(query) = &call.query {
        line("query", query);
    }
    line("reasoning", &answer.reasoning);
    let cached = answer.cached_tokens.as_ref();
    line("cached tokens", &cached.map_or("not established".to_owned(), |field| format!("in `usage.{field}`")));
    for (name, can) in &host.can {
        line(name, if *can { "yes" } else { "no" });
    }
    for price in &host.price {
        let counts = if price.is_in_force() { "counts where a recipe says none" } else { "not in force today" };
        line("price", &format!("{price}: {counts} ({})", price.source));
    }
    line("tested", &host.tested);
    listed(&mut text, "notes", &host.notes);
    listed(&mut text, &format!("read on {}", host.checked), &host.sources);
    Ok(text)
}

/// All models in a line each, or one of them whole.
///
/// # Errors
/// When there is none of that name.
pub fn models(name: Option<&str>) -> Result<String> {
    let Some(name) = name else {
        let mut text = String::new();
        for model in ModelProfile::all() {
            let _ = writeln!(text, "{:<18} {:<18} {}", model.name, model.title, model.names.join(", "));
        }
        return Ok(text);
    };
    let names = ModelProfile::all().iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
    let of_file = ModelProfile::all().iter().find(|model| model.name == name);
    let model = of_file.or_else(|| ModelProfile::of(name));
    let model = model
        .with_context(|| format!("no model `{name}`: expected one of {names}, or a name that it is served under"))?;
    let mut text = format!("{} ({})\n\n", model.title, model.name);
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<18} {value}");
    };
    line("served as", model.names.join(", "));
    line("reasoning", format!("{:?} … {:?}", model.turn.open, model.turn.close));
    line("prompt puts", format!("{:?} before the answer", model.turn.prefix));
    line("prompts here", if model.prompt.is_some() { "yes" } else { "with a folder's template (`chat`)" }.to_owned());
    let sampling = &model.sampling;
    let told = |value: Option<f32>| value.map(|value| value.to_string());
    for (what, value) in [
        ("temperature", told(sampling.temperature)),
        ("top-p", told(sampling.top_p)),
        ("top-k", sampling.top_k.map(|value| value.to_string())),
        ("min-p", told(sampling.min_p)),
        ("max-new-tokens", sampling.max_new_tokens.map(|value| value.to_string())),
    ] {
        if let Some(value) = value {
            line(what, value);
        }
    }
    listed(&mut text, "its makers advise", &model.rules);
    listed(&mut text, &format!("read on {}", model.checked), &model.sources);
    Ok(text)
}

/// What the endpoints of a recipe's teachers show of themselves.
///
/// # Errors
/// When no source has an endpoint, or none of them answers.
pub fn probe(recipe: &Recipe, store: &Store, as_json: bool, secrets: Secrets<'_>) -> Result<String> {
    let outside = Outside::read(store.root());
    let mut all: Vec<Probed> = Vec::new();
    for source in recipe.sources.iter().filter(|source| matches!(source.teacher, TeacherConfig::Http(_))) {
        if let Some(teacher) = Teacher::of(&source.teacher, &outside)? {
            all.extend(teacher.probe(store, secrets)?);
        }
    }
    let none = "the recipe: expected a source whose teacher is an endpoint, found none";
    ensure!(!all.is_empty(), Misused(none.to_owned()));
    let faults: Vec<&str> = all.iter().filter_map(|probed| probed.fault.as_deref()).collect();
    ensure!(faults.len() < all.len(), "{}", faults.join("\n"));
    if as_json {
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let mut text = String::new();
    for probed in &all {
        let _ = writeln!(text, "{}", probed.url);
        if let Some(fault) = &probed.fault {
            let _ = writeln!(text, "  not there         {fault}");
            continue;
        }
        let known = |told: Option<bool>| match told {
            Some(true) => "works",
            Some(false) => "does not work",
            None => "not known",
        };
        let seed = if probed.refuses.is_empty() { known(probed.seed) } else { "is refused" };
        let counts = match (probed.counts.len(), probed.miscounts()) {
            (0, _) => "not compared".to_owned(),
            (texts, wrong) if wrong.is_empty() => format!("counts {texts} texts as ours does"),
            (_, wrong) => format!("counts otherwise than ours: {}", wrong.join(", ")),
        };
        let tokens = probed.prompt_tokens.map_or("not told".to_owned(), |tokens| tokens.to_string());
        for (what, told) in [
            ("model", probed.model.as_str()),
            ("reasoning", probed.reasoning.as_deref().unwrap_or("not known")),
            ("seed", seed),
            ("n", known(probed.n)),
            ("log-probabilities", known(probed.logprobs)),
            ("continuation", known(probed.continues)),
            ("tokenizer", &counts),
            ("prompts as ids", known(probed.prompt_ids)),
            ("ids of answers", known(probed.token_ids)),
            ("question's tokens", &tokens),
            ("answer", &format!("{:?}", probed.answer)),
        ] {
            let _ = writeln!(text, "  {what:<17} {told}");
        }
        let _ = writeln!(text, "  this look took    {} tokens", probed.spent_tokens);
    }
    Ok(text)
}

fn listed(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing into a string cannot fail.
    let _ = writeln!(text, "\n{title}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_and_model_is_told_and_an_unknown_one_names_them() {
        for host in HostProfile::all() {
            assert!(hosts(Some(host.name)).expect("a host").contains(&host.checked), "{}", host.name);
        }
        for model in ModelProfile::all() {
            assert!(models(Some(model.name)).expect("a model").contains(&model.title), "{}", model.name);
        }
        assert!(models(Some("deepseek-reasoner")).expect("a model").contains("DeepSeek-R1"));
        let deepseek = hosts(Some("deepseek")).expect("a host");
        for part in ["in `usage.prompt_cache_hit_tokens`", "CNY 4 a million", "(UTC+08:00): not in force today"] {
            assert!(deepseek.contains(part), "{part}\n{deepseek}");
        }
        assert!(hosts(Some("vlm")).expect_err("unknown").to_string().contains("vllm"));
        assert_eq!(hosts(None).expect("all").lines().count(), HostProfile::all().len());
    }
}
