//! Charts as SVG text. Numbers in, markup out; what models are called is escaped.

use super::page::{escape, short};
use distill_dataset::{Curve, Histogram, Score};
use std::fmt::Write;

/// Pass@1 with 95 % intervals, one bar a model.
pub(super) fn scores(scores: &[(&str, &Score)]) -> String {
    let names: Vec<String> = scores.iter().map(|(subject, _)| short(subject, 28)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    // Room for the longest name, at nine units a letter.
    let (left, width, row) = ((longest as f64).mul_add(9.0, 20.0).max(110.0), 470.0, 46.0);
    let height = scores.len() as f64 * row + 34.0;
    let mut svg = open(left + width + 90.0, height, "pass@1 with 95 % intervals");
    for tick in 0..=4 {
        let x = left + width * f64::from(tick) / 4.0;
        let _ = write!(
            svg,
            r#"<line x1="{x}" x2="{x}" y1="0" y2="{}" class="grid"/><text x="{x}" y="{}" class="tick" text-anchor="middle">{} %</text>"#,
            height - 24.0,
            height - 6.0,
            tick * 25
        );
    }
    for (index, ((subject, score), name)) in scores.iter().zip(&names).enumerate() {
        let name = escape(name);
        let y = index as f64 * row + 6.0;
        let x = |share: f64| left + width * share;
        let class = if *subject == "after" { "bar strong" } else { "bar" };
        let _ = write!(
            svg,
            r#"<text x="{}" y="{}" class="label" text-anchor="end">{name}</text><rect x="{left}" y="{y}" width="{:.1}" height="28" rx="3" class="{class}"/><path d="M{:.1} {mid}H{:.1}M{:.1} {top}V{bottom}M{:.1} {top}V{bottom}" class="whisker"/><text x="{:.1}" y="{}" class="value">{:.1} %</text>"#,
            left - 12.0,
            y + 19.0,
            (width * score.mean).max(1.5),
            x(score.low),
            x(score.high),
            x(score.low),
            x(score.high),
            x(score.high) + 8.0,
            y + 19.0,
            score.mean * 100.0,
            mid = y + 14.0,
            top = y + 8.0,
            bottom = y + 20.0,
        );
    }
    svg + "</svg>"
}

/// Two histograms over the same axis: all, and in front of them the kept ones.
pub(super) fn lengths(all: &Histogram, kept: Option<&Histogram>) -> String {
    let (left, width, height) = (44.0, 520.0, 190.0);
    let kept = kept.filter(|kept| kept.width == all.width);
    let most = all.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = width / all.counts.len().max(1) as f64;
    let mut svg = open(left + width + 20.0, height + 40.0, "completion tokens of traces");
    y_axis(&mut svg, left, width, height, most);
    for (index, count) in all.counts.iter().enumerate() {
        let bar = |count: u64, class: &str| {
            let tall = height * count as f64 / most;
            format!(
                r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}" class="{class}"/>"#,
                left + step * index as f64 + 1.0,
                height - tall + 8.0,
                (step - 2.0).max(1.0)
            )
        };
        svg.push_str(&bar(*count, "bar"));
        if let Some(kept) = kept.and_then(|kept| kept.counts.get(index)) {
            svg.push_str(&bar(*kept, "bar strong"));
        }
    }
    let bins = all.counts.len();
    for index in (0..=bins).step_by((bins / 8).max(1)) {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{}" class="tick" text-anchor="middle">{}</text>"#,
            left + step * index as f64,
            height + 26.0,
            index as u64 * u64::from(all.width)
        );
    }
    svg + "</svg>"
}

/// The loss by step, and that on what is held out where there is one; the vertical axis from zero.
pub(super) fn losses(trained: &Curve, held_out: &Curve) -> String {
    let (left, width, height) = (44.0, 520.0, 190.0);
    let last = trained.x.last().copied().unwrap_or(1.0).max(1.0);
    let values = trained.y.iter().chain(&held_out.y).copied();
    let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-9);
    let mut svg = open(left + width + 20.0, height + 40.0, "training loss by step");
    y_axis(&mut svg, left, width, height, most);
    for (curve, class) in [(trained, "line"), (held_out, "line held-out")] {
        let pairs = curve.x.iter().zip(&curve.y).filter(|(_, y)| y.is_finite());
        let points: Vec<String> = pairs
            .map(|(x, y)| format!("{:.1},{:.1}", left + width * x / last, 8.0 + height * (1.0 - y / most)))
            .collect();
        if !points.is_empty() {
            let _ = write!(svg, r#"<polyline points="{}" class="{class}"/>"#, points.join(" "));
        }
    }
    for tick in 0..=4 {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{}" class="tick" text-anchor="middle">{:.0}</text>"#,
            left + width * f64::from(tick) / 4.0,
            height + 26.0,
            last * f64::from(tick) / 4.0
        );
    }
    svg + "</svg>"
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">"#)
}

fn y_axis(svg: &mut String, left: f64, width: f64, height: f64, most: f64) {
    for tick in 0..=2 {
        let share = f64::from(tick) / 2.0;
        let y = 8.0 + height * (1.0 - share);
        let value = most * share;
        let label = if most >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let _ = write!(
            svg,
            r#"<line x1="{left}" x2="{}" y1="{y}" y2="{y}" class="grid"/><text x="{}" y="{}" class="tick" text-anchor="end">{label}</text>"#,
            left + width,
            left - 6.0,
            y + 4.0
        );
    }
}
