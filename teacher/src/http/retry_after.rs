//! How long a server asks to wait: seconds, or a date (RFC 9110, 10.2.3); milliseconds in a header that the clients of the
//! field know.

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use std::time::Duration;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Nobody is taken at his word for longer than this.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The pause that the headers of a response ask for. A date is taken against the server's own clock, where it tells it.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit: f64| {
        let seconds = text.parse::<f64>().ok().filter(|number| *number >= 0.0)? / unit;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_WAIT).min(MAX_WAIT))
    };
    if let Some(wait) = text(RETRY_AFTER_MS).and_then(|asked| number(asked, 1000.0)) {
        return Some(wait);
    }
    let asked = text(RETRY_AFTER)?;
    if let Some(wait) = number(asked, 1.0) {
        return Some(wait);
    }
    let until = date(asked)?;
    let now = text(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    let seconds = until.as_second().saturating_sub(now.as_second()).max(0);
    Some(Duration::from_secs(seconds.unsigned_abs()).min(MAX_WAIT))
}

fn date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn wait(asked: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(asked).expect("a header"));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).expect("a header"));
        }
        read(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else_is() {
        let now = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        for (asked, expected) in [
            ("120", Some(120)),
            ("1.5", Some(1)),
            ("Wed, 21 Oct 2026 07:30:30 GMT", Some(150)),
            ("Wed, 21 Oct 2026 07:00:00 GMT", Some(0)),
            ("99999999999999999999", Some(30 * 24 * 3600)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(asked, now), expected, "{asked:?}");
        }
        assert_eq!(wait("Wed, 21 Oct 2020 07:28:00 GMT", None), Some(0), "a past date, against our own clock");
        assert_eq!(read(&HeaderMap::new()), None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("9"));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from_static("1500.5"));
        assert_eq!(read(&headers), Some(Duration::from_micros(1_500_500)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from_static("soon"));
        assert_eq!(read(&headers), Some(Duration::from_secs(9)));
    }
}
