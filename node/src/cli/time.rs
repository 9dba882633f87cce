//! Times: shown as this computer's clock would, flagged where they cannot be right; read in several spellings.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use openprod_client::v1;

use super::error::CliError;

/// A time by an author's clock as it is shown here.
pub fn shown(ms: i64) -> String {
    let local = Timestamp::from_millisecond(ms).map(|at| at.to_zoned(TimeZone::system()));
    local.map_or_else(|_| format!("{ms} ms"), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// When a bundle was made: flagged if that cannot be right.
pub fn of_bundle(bundle: &v1::BundleInfo) -> String {
    let flag = if bundle.time_implausible { " (clock in doubt)" } else { "" };
    format!("{}{flag}", shown(bundle.wall_ms))
}

/// Reads a time in milliseconds since 1970: a day or a day and time here, a time with an offset, or a span before now.
pub fn parse(text: &str, now: &Zoned) -> Result<i64, CliError> {
    read(text.trim(), now).ok_or_else(|| {
        CliError::usage(format!("\"{text}\" is not a time."))
            .next("Write 2026-11-20, \"2026-11-20 18:00\", 2026-11-20T18:00:00+01:00, or how long ago: 90min, 2h, 3d.")
    })
}

fn read(text: &str, now: &Zoned) -> Option<i64> {
    let zone = now.time_zone();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let begins_with_day = text.len() >= 10 && text.as_bytes()[4] == b'-';
    if begins_with_day {
        let at = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|day| day.at(0, 0, 0, 0))).ok()?;
        return Some(at.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond());
    }
    let ago: Span = text.strip_suffix("ago").unwrap_or(text).trim().parse().ok()?;
    Some(now.checked_sub(ago).ok()?.timestamp().as_millisecond())
}

/// Reads a point in the past: a revision, a bundle's id or digest, or a time.
pub fn as_of(text: Option<&str>) -> Result<Option<v1::AsOf>, CliError> {
    let Some(text) = text else { return Ok(None) };
    point(text, &Zoned::now()).map(|point| Some(v1::AsOf { point: Some(point) }))
}

fn point(text: &str, now: &Zoned) -> Result<v1::as_of::Point, CliError> {
    use openprod_model::ids::{BundleId, Digest};
    if let Ok(revision) = text.parse() {
        return Ok(v1::as_of::Point::Revision(revision));
    }
    if text.parse::<BundleId>().is_ok() || text.parse::<Digest>().is_ok() {
        return Ok(v1::as_of::Point::Bundle(text.to_owned()));
    }
    parse(text, now).map(v1::as_of::Point::WallMs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-21T12:00:00+01:00[+01:00]".parse().unwrap()
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (text, means) in [
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2026-11-20 18:00", "2026-11-20T17:00:00Z"),
            ("2026-11-20T18:00:00Z", "2026-11-20T18:00:00Z"),
            ("2h", "2026-11-21T09:00:00Z"),
            ("3d ago", "2026-11-18T11:00:00Z"),
        ] {
            assert_eq!(parse(text, &now()).unwrap(), ms(means), "{text}");
        }
        assert!(parse("Monday", &now()).is_err());
    }

    #[test]
    fn a_point_is_a_revision_a_bundle_or_a_time() {
        use v1::as_of::Point;
        assert_eq!(point("42", &now()).unwrap(), Point::Revision(42));
        let id = "0190b5a0-0000-7000-8000-000000000000";
        assert_eq!(point(id, &now()).unwrap(), Point::Bundle(id.to_owned()));
        assert!(matches!(point("2026-11-20", &now()).unwrap(), Point::WallMs(_)));
    }
}
