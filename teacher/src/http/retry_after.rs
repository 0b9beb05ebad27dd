//! How long a server asks to wait: seconds, or a date (RFC 9110, 10.2.3); milliseconds in a header that the clients of the
//! field know.

use jiff::{Timestamp, fmt::strtime::BrokenDownTime, tz::TimeZone};
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use std::time::Duration;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const OLD_DATES: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
/// Nobody is taken at his word for longer than this.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The pause that the headers of a response ask for. A date is taken against the server's own clock, where it tells it.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit: f64| {
        // Digits: no exponent, and no word for what has no end.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let seconds = text.parse::<f64>().ok().filter(|_| is_plain)? / unit;
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

/// A date as HTTP writes it, or as it did (RFC 9110, 5.6.7: RFC 850's form, and that of C's `asctime`).
fn date(text: &str) -> Option<Timestamp> {
    let old = |form| TimeZone::UTC.to_timestamp(BrokenDownTime::parse(form, text).ok()?.to_datetime().ok()?).ok();
    let today = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    today.or_else(|| OLD_DATES.into_iter().find_map(old))
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
            ("Wednesday, 21-Oct-26 07:30:30 GMT", Some(150)),
            ("Wed Oct 21 07:30:30 2026", Some(150)),
            ("Mon Nov  2 07:28:00 2026", Some(12 * 24 * 3600)),
            ("inf", None),
            ("1e300", None),
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
