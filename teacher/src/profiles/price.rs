//! What hosts charge for models, with the days and the hours in which they do. Days and hours are by an offset from UTC that
//! is part of the price: a fixed one needs no table of time zones.

use crate::Price;
use distill_dataset::Currency;
use jiff::{Timestamp, civil, tz::Offset};
use serde::Deserialize;
use std::fmt;

/// A price of a host for a model, of a million tokens each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostPrice {
    /// Of which model.
    pub model: String,
    /// ISO 4217.
    pub currency: Currency,
    /// Prompts that no cache had.
    pub prompt: f64,
    /// Prompts that a cache had.
    #[serde(default)]
    pub cached: Option<f64>,
    /// Answers.
    pub completion: f64,
    /// The first day.
    pub from: Day,
    /// The last day.
    #[serde(default)]
    pub until: Option<Day>,
    /// Between which hours of the day, where it is not the whole day's.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// By which clock those are, e.g. `+08:00`.
    #[serde(default)]
    pub offset: FromUtc,
    /// Who says so.
    pub source: String,
}

impl HostPrice {
    /// It, without when and where.
    pub fn price(&self) -> Price {
        let HostPrice { currency, prompt, cached, completion, .. } = *self;
        Price { currency, prompt, cached, completion }
    }

    /// Whether it is in force on this day, at whichever hours.
    pub fn is_in_force(&self) -> bool {
        self.is_in_force_at(Timestamp::now())
    }

    pub(crate) fn is_in_force_at(&self, time: Timestamp) -> bool {
        self.has_begun_at(time) && !self.has_ended_at(time)
    }

    pub(crate) fn has_begun_at(&self, time: Timestamp) -> bool {
        self.from.0 <= self.clock(time).date()
    }

    pub(crate) fn has_ended_at(&self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| until.0 < self.clock(time).date())
    }

    /// Whether that is within its hours.
    pub(crate) fn is_hour_at(&self, time: Timestamp) -> bool {
        self.hours.is_none_or(|hours| hours.contains(self.clock(time).time()))
    }

    fn clock(&self, time: Timestamp) -> civil::DateTime {
        self.offset.0.to_datetime(time)
    }
}

impl fmt::Display for HostPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, from {}", self.model, self.price(), self.from.0)?;
        if let Some(until) = self.until {
            write!(f, " until {}", until.0)?;
        }
        match self.hours {
            Some(hours) => write!(f, ", {hours} (UTC{})", self.offset),
            None => Ok(()),
        }
    }
}

/// A day, as `2025-02-09`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Day(civil::Date);

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Day, String> {
        text.parse().map(Day).map_err(|_| format!("expected a day as 2025-02-09, found {text:?}"))
    }
}

/// Hours of every day, as `22:00-06:00`: from the first minute until before the last, past midnight where it is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hours {
    from: civil::Time,
    until: civil::Time,
}

impl Hours {
    fn contains(self, time: civil::Time) -> bool {
        match self.from < self.until {
            true => self.from <= time && time < self.until,
            false => self.from <= time || time < self.until,
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Hours, String> {
        let ends = text.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
        let ends = ends.filter(|(from, until)| from != until);
        let (from, until) = ends.ok_or_else(|| format!("expected two times as 22:00-06:00, found {text:?}"))?;
        Ok(Hours { from, until })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, until] = [self.from, self.until].map(|time| (time.hour(), time.minute()));
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, until.0, until.1)
    }
}

/// A time of the day, as `06:30`.
fn minute(text: &str) -> Option<civil::Time> {
    let digits = |text: &str| text.parse().ok().filter(|_| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()));
    let (hour, minute) = text.split_once(':')?;
    civil::Time::new(digits(hour)?, digits(minute)?, 0, 0).ok()
}

/// An offset from UTC, as `+08:00`; none where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FromUtc(Offset);

impl Default for FromUtc {
    fn default() -> FromUtc {
        FromUtc(Offset::UTC)
    }
}

impl TryFrom<String> for FromUtc {
    type Error = String;

    fn try_from(text: String) -> Result<FromUtc, String> {
        let signed = text.strip_prefix('+').map(|rest| (1, rest)).or(text.strip_prefix('-').map(|rest| (-1, rest)));
        let seconds = signed.and_then(|(sign, rest)| {
            let time = minute(rest)?;
            Some(sign * 60 * (60 * i32::from(time.hour()) + i32::from(time.minute())))
        });
        let offset = seconds.and_then(|seconds| Offset::from_seconds(seconds).ok());
        offset.map(FromUtc).ok_or_else(|| format!("expected an offset from UTC as +08:00, found {text:?}"))
    }
}

impl fmt::Display for FromUtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    /// A price of `m` with these keys.
    pub(crate) fn price(keys: &str) -> HostPrice {
        toml::from_str(&format!("model = \"m\"\ncurrency = \"CNY\"\nsource = \"s\"\n{keys}")).expect("a price")
    }

    #[test]
    fn nights_of_shanghai_begin_and_end_to_the_minute_by_its_clock() {
        let money = "prompt = 1.0\ncompletion = 4.0\nfrom = \"2025-02-27\"";
        let night = price(&format!("{money}\nhours = \"00:30-08:30\"\noffset = \"+08:00\""));
        // The same hours by the clock of UTC go past midnight.
        let utc = price(&format!("{money}\nhours = \"16:30-00:30\""));
        for (time, is_night) in [
            ("2025-03-01T00:29:59+08", false),
            ("2025-03-01T00:30:00+08", true),
            ("2025-03-01T07:59:59+08", true),
            ("2025-03-01T08:00:00+08", true),
            ("2025-03-01T08:29:59+08", true),
            ("2025-03-01T08:30:00+08", false),
            ("2025-03-01T23:59:59+08", false),
            ("2025-03-02T00:00:00+08", false),
        ] {
            assert_eq!((night.is_hour_at(at(time)), utc.is_hour_at(at(time))), (is_night, is_night), "{time}");
        }
        // 22:00 to 06:00 there.
        let late = price(&format!("{money}\nhours = \"22:00-06:00\"\noffset = \"+08:00\""));
        for (time, is_late) in
            [("T21:59", false), ("T22:00", true), ("T23:59", true), ("T00:00", true), ("T06:00", false)]
        {
            assert_eq!(late.is_hour_at(at(&format!("2025-03-01{time}:00+08"))), is_late, "{time}");
        }
    }

    #[test]
    fn a_price_is_in_force_from_its_first_day_to_its_last_by_its_own_clock() {
        let price = price(
            "prompt = 4.0\ncompletion = 16.0\nfrom = \"2025-02-09\"\nuntil = \"2025-08-21\"\noffset = \"+08:00\"",
        );
        for (time, is_in_force) in [
            ("2025-02-08T15:59:59Z", false),
            ("2025-02-08T16:00:00Z", true),
            ("2025-08-21T15:59:59Z", true),
            ("2025-08-21T16:00:00Z", false),
        ] {
            assert_eq!(price.is_in_force_at(at(time)), is_in_force, "{time}");
        }
        assert!(!price.is_in_force(), "it ended long ago");
    }

    #[test]
    fn times_that_are_none_are_refused_with_what_was_expected() {
        for text in ["", "9:00-10:00", "00:30", "24:00-01:00", "01:00-01:00", "00:30-08:30 Asia/Shanghai"] {
            assert!(Hours::try_from(text.to_owned()).is_err_and(|error| error.contains("22:00-06:00")), "{text}");
        }
        for text in ["08:00", "+8", "+25:99", "Asia/Shanghai"] {
            assert!(FromUtc::try_from(text.to_owned()).is_err_and(|error| error.contains("+08:00")), "{text}");
        }
        assert!(Day::try_from("9.2.2025".to_owned()).is_err());
        let offset = |text: &str| FromUtc::try_from(text.to_owned()).expect("an offset").to_string();
        assert_eq!((offset("-05:30"), offset("+08:00")), ("-05:30".to_owned(), "+08:00".to_owned()));
        let deepseek = crate::HostProfile::of("deepseek").expect("a profile");
        let told = deepseek.price[1].to_string();
        assert!(told.ends_with("from 2025-02-27 until 2025-08-21, 00:30-08:30 (UTC+08:00)"), "{told}");
    }
}
