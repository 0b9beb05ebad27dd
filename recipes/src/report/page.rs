//! The page: what a person wants to know first comes first. Everything from outside is escaped.

use super::chart;
use crate::{
    attempts::{Shown, verdict},
    show::Row,
    view::View,
};
use distill_dataset::{Detail, Funnel, Histogram, Outcome};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn render(view: &View, (rows, wrong): (&[Row], &[Shown]), mark: &str) -> String {
    let name = escape(&view.record.name);
    let mut page = format!(
        "<!doctype html>{mark}<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{name}</title><style>{STYLE}</style></head><body><main><header><p class=\"kicker\">distill report</p><h1>{name}</h1>"
    );
    headline(&mut page, view);
    page.push_str("</header>");
    accuracy(&mut page, view);
    if let Some(funnel) = view.funnel() {
        funnel_section(&mut page, funnel);
    }
    page.push_str("<div class=\"columns\">");
    lengths(&mut page, view);
    loss(&mut page, view);
    page.push_str("</div>");
    stages(&mut page, view);
    traces(&mut page, rows);
    attempts(&mut page, wrong);
    let overrides = view.record.overrides.iter().map(|text| escape(text)).collect::<Vec<_>>().join(", ");
    let overrides = if overrides.is_empty() { String::new() } else { format!(" · overrides {overrides}") };
    let revision = view.manifests().last().map_or(String::new(), |(_, manifest)| escape(&manifest.revision));
    let _ = write!(
        page,
        "<footer>seed {} · program {revision}{overrides} · every figure on this page comes from the manifests of the run</footer></main></body></html>",
        view.record.seed
    );
    page
}

fn headline(page: &mut String, view: &View) {
    let scores: Vec<_> = view.scores().collect();
    let find = |name: &str| scores.iter().find(|(subject, _)| *subject == name).map(|(_, score)| score.mean * 100.0);
    let traces: u64 = view.of("traces").map(|dataset| dataset.manifest.tally.rows_out).sum();
    let kept = view.funnel().map(|funnel| funnel.kept);
    let seconds: f64 = view.manifests().map(|(_, manifest)| manifest.time.wall_s).sum();
    page.push_str("<div class=\"tiles\">");
    let mut tile = |value: String, label: &str| {
        let _ = write!(page, "<div class=\"tile\"><b>{value}</b><span>{label}</span></div>");
    };
    if let (Some(before), Some(after)) = (find("before"), find("after")) {
        tile(format!("{before:.1} → {after:.1} %"), "pass@1, student before and after");
    }
    if let Some(teacher) = find("teacher") {
        tile(format!("{teacher:.1} %"), "the teacher, same protocol");
    }
    if view.of("traces").next().is_some() {
        tile(group(traces), "traces");
    }
    if let Some(kept) = kept {
        tile(group(kept), "kept");
    }
    tile(duration(seconds), "of work, all stages together");
    page.push_str("</div>");
}

fn accuracy(page: &mut String, view: &View) {
    let scores: Vec<_> = view.scores().collect();
    let Some((_, first)) = scores.first() else { return };
    page.push_str("<section><h2>Accuracy</h2><div class=\"chart wide\">");
    page.push_str(&chart::scores(&scores));
    let _ = write!(
        page,
        "</div><p class=\"note\">pass@1 on {} problems, with 95 % intervals clustered by problem. Protocol: {}.</p>",
        first.num_problems,
        escape(&first.protocol)
    );
    page.push_str("<table><thead><tr><th>model</th><th class=\"n\">pass@1</th><th class=\"n\">95 % interval</th><th class=\"n\">samples each</th><th class=\"n\">cut by the limit</th><th class=\"n\">undecided</th></tr></thead><tbody>");
    for (subject, score) in &scores {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\" data-of=\"pass@1\">{:.1} %</td><td class=\"n\" data-of=\"95 % interval\">{:.1} – {:.1} %</td><td class=\"n\" data-of=\"samples each\">{}</td><td class=\"n\" data-of=\"cut by the limit\">{:.1} %</td><td class=\"n\" data-of=\"undecided\">{}</td></tr>",
            escape(subject),
            score.mean * 100.0,
            score.low * 100.0,
            score.high * 100.0,
            score.samples_per_problem,
            score.censored * 100.0,
            score.num_unknown
        );
    }
    page.push_str("</tbody></table></section>");
}

fn funnel_section(page: &mut String, funnel: &Funnel) {
    let dropped: u64 = funnel.steps.iter().flat_map(|step| step.dropped.values()).sum();
    let all = (funnel.kept + dropped).max(1);
    page.push_str("<section><h2>Funnel</h2><div class=\"funnel\">");
    let mut line = |label: &str, count: u64, note: &str| {
        let share = count as f64 / all as f64 * 100.0;
        let _ = write!(
            page,
            "<div class=\"step\"><span class=\"name\">{label}</span><span class=\"track\"><i style=\"width:{share:.2}%\"></i></span><span class=\"count\">{} <small>{share:.1} %</small></span><span class=\"why\">{note}</span></div>",
            group(count)
        );
    };
    line("sampled", all, "");
    let mut left = all;
    for step in &funnel.steps {
        left -= step.dropped.values().sum::<u64>().min(left);
        let reasons: Vec<String> =
            step.dropped.iter().map(|(reason, count)| format!("{} {}", group(*count), escape(reason))).collect();
        let note =
            if reasons.is_empty() { "nothing dropped".to_owned() } else { format!("dropped {}", reasons.join(", ")) };
        let told: String =
            step.noted.iter().map(|(told, count)| format!("; let by {} {}", group(*count), escape(told))).collect();
        let note = note + &told;
        line(&format!("after {}", escape(&step.filter)), left, &note);
    }
    page.push_str("</div></section>");
}

fn lengths(page: &mut String, view: &View) {
    let all = view.of("traces").find_map(|dataset| match &dataset.manifest.tally.detail {
        Detail::Traces { lengths, .. } if lengths.counts.len() > 1 => Some(lengths),
        _ => None,
    });
    let Some(all) = all else { return };
    let kept: Option<&Histogram> = view.of("selection").find_map(|dataset| match &dataset.manifest.tally.detail {
        Detail::Selection { lengths, .. } => Some(lengths),
        _ => None,
    });
    let _ = write!(
        page,
        "<section><h2>Trace lengths</h2><div class=\"chart\">{}</div><p class=\"note\">completion tokens; <i class=\"swatch\"></i> sampled, <i class=\"swatch strong\"></i> kept</p></section>",
        chart::lengths(all, kept)
    );
}

fn loss(page: &mut String, view: &View) {
    for dataset in view.of("training") {
        let Detail::Training { steps, skipped_steps, num_parameters, loss, holdout_loss, tokens_per_s, .. } =
            &dataset.manifest.tally.detail
        else {
            continue;
        };
        let held_out = holdout_loss.y.last().map_or(String::new(), |last| {
            let least = holdout_loss.y.iter().copied().fold(f64::INFINITY, f64::min);
            format!("; dashed: held out, {least:.4} at its least, {last:.4} at the end")
        });
        let skipped = match skipped_steps {
            0 => String::new(),
            skipped => format!(", {} skipped because loss or gradient were no numbers", group(*skipped)),
        };
        let _ = write!(
            page,
            "<section><h2>Training loss</h2><div class=\"chart\">{}</div><p class=\"note\">{} steps{skipped}, {} parameters, {} tokens, {} tokens a second on {}{held_out}</p></section>",
            chart::losses(loss, holdout_loss),
            group(*steps),
            group(*num_parameters),
            group(dataset.manifest.tally.trained_tokens),
            group(*tokens_per_s as u64),
            escape(&dataset.manifest.device)
        );
    }
}

fn stages(page: &mut String, view: &View) {
    page.push_str("<section><h2>Stages</h2><table><thead><tr><th>stage</th><th class=\"n\">rows in</th><th class=\"n\">rows out</th><th class=\"n\">tokens</th><th class=\"n\">time</th><th class=\"n\">cost</th><th>key</th></tr></thead><tbody>");
    for (stage, dataset) in &view.stages {
        let label = escape(&stage.label);
        let Some(dataset) = dataset else {
            let _ = write!(page, "<tr class=\"pending\"><td>{label}</td><td colspan=\"6\">not done</td></tr>");
            continue;
        };
        let (tally, time) = (&dataset.manifest.tally, &dataset.manifest.time);
        let tokens = tally.prompt_tokens + tally.completion_tokens + tally.trained_tokens;
        let tokens = if tokens == 0 { String::new() } else { group(tokens) };
        let _ = write!(
            page,
            "<tr><td>{label}</td><td class=\"n\" data-of=\"rows in\">{}</td><td class=\"n\" data-of=\"rows out\">{}</td><td class=\"n\" data-of=\"tokens\">{tokens}</td><td class=\"n\" data-of=\"time\">{}</td><td class=\"n\" data-of=\"cost\">{}</td><td data-of=\"key\"><code>{}</code></td></tr>",
            group(tally.rows_in),
            group(tally.rows_out),
            duration(time.wall_s),
            tally.cost(),
            escape(&stage.key.chars().take(12).collect::<String>())
        );
    }
    page.push_str("</tbody></table></section>");
}

fn traces(page: &mut String, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    page.push_str("<section><h2>Some traces</h2><div class=\"traces\">");
    for row in rows {
        let (class, fate) = match &row.decision {
            None => ("", "not decided".to_owned()),
            Some(decision) if decision.kept => ("kept", "kept".to_owned()),
            Some(decision) => {
                ("dropped", format!("dropped by {}: {}", escape(&decision.dropped_by), escape(&decision.reason)))
            }
        };
        let _ = write!(
            page,
            "<article class=\"{class}\"><p class=\"fate\">{fate}</p><p class=\"question\">{}</p><pre>{}</pre><p class=\"note\">expected {} · {} tokens · trace <code>{}</code></p>",
            escape(&short(&row.question, 400)),
            escape(&short(&row.trace.turn(), 1500)),
            escape(&short(&row.answer, 80)),
            row.trace.completion_tokens,
            escape(&row.trace.id.chars().take(12).collect::<String>())
        );
        let outcomes = row.decision.iter().flat_map(|decision| &decision.outcomes);
        let looked: Vec<String> = row
            .evidence
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| **outcome != Outcome::NotRun)
            .map(|((label, measure), _)| {
                format!("{}: {}", escape(label), escape(&short(&Row::evidence_line(measure), 200)))
            })
            .collect();
        if !looked.is_empty() {
            let _ = write!(page, "<p class=\"note\">{}</p>", looked.join("<br>"));
        }
        page.push_str("</article>");
    }
    page.push_str("</div></section>");
}

/// A few answers of each evaluated model that are not right.
fn attempts(page: &mut String, wrong: &[Shown]) {
    if wrong.is_empty() {
        return;
    }
    page.push_str("<section><h2>Some answers that are not right</h2><div class=\"traces\">");
    for Shown { subject, question, expected, attempt } in wrong {
        let _ = write!(
            page,
            "<article class=\"dropped\"><p class=\"fate\">{}, {}</p><p class=\"question\">{}</p><pre>{}</pre><p class=\"note\">expected {} · found {} · {} tokens, {} · problem <code>{}</code></p></article>",
            escape(subject),
            escape(&verdict(attempt)),
            escape(&short(question, 400)),
            escape(&short(&attempt.turn, 1500)),
            escape(&short(expected, 80)),
            escape(&short(&attempt.found, 80)),
            attempt.completion_tokens,
            attempt.finish_reason.as_str(),
            escape(&attempt.problem_id.chars().take(12).collect::<String>())
        );
    }
    page.push_str("</div></section>");
}

pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{} …", &text[..at]),
    }
}

/// Text as HTML text or attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Digits in groups of three.
fn group(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:.0} s", (s / 60.0) as u64, s % 60.0),
        s => format!("{} h {} min", (s / 3600.0) as u64, (s % 3600.0 / 60.0) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        assert_eq!(
            escape("<script>alert('x')</script>\u{1b}[2J"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\u{fffd}[2J"
        );
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(group(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((duration(3.21).as_str(), duration(125.0).as_str()), ("3.2 s", "2 min 5 s"));
    }
}
