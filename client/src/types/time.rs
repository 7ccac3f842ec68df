//! When something happened: milliseconds since the Unix epoch, shown as RFC 3339.
//!
//! The leader stamps each command with its wall clock and time within a log never goes back; no
//! other clock enters the replicated state.
//!
//! Not here: clocks. A timestamp is only ever handed in.

use std::fmt;
use std::str::FromStr;

/// A moment, to the millisecond.
///
/// ```
/// use quorate_client::types::Timestamp;
///
/// assert_eq!(Timestamp::new(1_000).to_string(), "1970-01-01T00:00:01.000Z");
/// assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Timestamp::new(1_000)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        with = "String",
        extend("format" = "date-time", "pattern" = "^(19[7-9][0-9]|[2-9][0-9]{3})-")
    )
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of 1970.
    pub const EPOCH: Self = Self(0);

    /// Last millisecond of the year 9999: later moments are shown as this one.
    const SHOWN_MAX: u64 = 253_402_300_799_999;

    /// The moment this many milliseconds after the Unix epoch.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Writes RFC 3339 in UTC with milliseconds into a buffer: `2026-11-23T20:15:57.000Z`.
    ///
    /// By hand, because every record that is read as JSON shows its time.
    pub fn format(self, buffer: &mut [u8; 24]) -> &str {
        let millis = self.0.min(Self::SHOWN_MAX);
        let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
        let (year, month, day) = civil(days);
        buffer.copy_from_slice(b"0000-00-00T00:00:00.000Z");
        digits(&mut buffer[0..4], year);
        digits(&mut buffer[5..7], month);
        digits(&mut buffer[8..10], day);
        digits(&mut buffer[11..13], of_day / 3_600_000);
        digits(&mut buffer[14..16], of_day / 60_000 % 60);
        digits(&mut buffer[17..19], of_day / 1000 % 60);
        digits(&mut buffer[20..23], of_day % 1000);
        std::str::from_utf8(buffer).expect("digits and punctuation are ASCII")
    }
}

/// The Gregorian date of a day since 1970, after Howard Hinnant's `civil_from_days`: years start
/// in March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn digits(into: &mut [u8], mut number: u64) {
    for place in into.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.format(&mut [0; 24]))
    }
}

/// A text that is no moment after 1970 in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time after 1970, such as 2026-11-23T20:15:57Z")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| TimestampError)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.format(&mut [0; 24]))
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::new(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::new(951_782_400_001).to_string(), "2000-02-29T00:00:00.001Z");
        assert_eq!(Timestamp::new(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn zones_and_fractions_are_understood() {
        let time = |text: &str| text.parse::<Timestamp>().map(Timestamp::as_millis);
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(time("1970-01-01T00:00:00.5Z"), Ok(500));
        assert_eq!(time("1969-12-31T23:59:59Z"), Err(TimestampError));
        assert_eq!(time("yesterday"), Err(TimestampError));
        assert_eq!(time(""), Err(TimestampError));
    }

    proptest! {
        #[test]
        fn a_time_survives_text_and_agrees_with_jiff(millis in 0..=Timestamp::SHOWN_MAX - 200_000_000) {
            let time = Timestamp::new(millis);
            prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
            let other = jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap();
            prop_assert_eq!(time.to_string(), format!("{other:.3}"));
        }
    }
}
