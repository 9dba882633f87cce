//! Days as year, month and day in the proleptic Gregorian calendar, for every day that a value can hold.
//!
//! Calendar libraries end at the year 9999; a peer may have written more. The algorithm is Howard Hinnant's
//! (*chrono-compatible low-level date algorithms*, 2013): years begin in March, eras have 400 of them.

const DAYS_PER_ERA: i64 = 146_097;
const EPOCH_FROM_ERA_0: i64 = 719_468;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i32,
    pub(super) month: i32,
    pub(super) day: i32,
}

/// Days since 1970-01-01 of a day that exists; none of one that does not.
pub(super) fn days(civil: Civil) -> Option<i64> {
    let Civil { year, month, day } = civil;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = i64::from(year) - i64::from(month <= 2);
    let months_since_march = i64::from((month + 9) % 12);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * months_since_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * DAYS_PER_ERA + day_of_era - EPOCH_FROM_ERA_0;
    (self::civil(days) == Some(civil)).then_some(days)
}

/// The day that is so many days behind 1970-01-01; none if its year does not fit into 32 bits.
pub(super) fn civil(days: i64) -> Option<Civil> {
    let days = days.checked_add(EPOCH_FROM_ERA_0)?;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some(Civil { year: i32::try_from(year).ok()?, month: i32::try_from(month).ok()?, day: i32::try_from(day).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_calendar_library_where_that_goes(days in -4_371_587_i64..=2_932_896) {
            let epoch = jiff::civil::date(1970, 1, 1);
            let day = epoch.checked_add(jiff::Span::new().days(days)).unwrap();
            let expected = Civil { year: day.year().into(), month: day.month().into(), day: day.day().into() };
            prop_assert_eq!(civil(days), Some(expected));
        }

        #[test]
        fn every_day_comes_back(day in i64::from(i32::MIN)..=i64::from(i32::MAX)) {
            prop_assert_eq!(days(civil(day).unwrap()), Some(day));
        }

        #[test]
        fn a_day_is_there_or_it_is_not(year in any::<i32>(), month in -1..15, day in -1..34) {
            let asked = Civil { year, month, day };
            prop_assert!(days(asked).is_none_or(|found| civil(found) == Some(asked)));
        }
    }

    #[test]
    fn only_leap_years_have_a_29th_of_february() {
        let last = |year| days(Civil { year, month: 2, day: 29 }).is_some();
        assert_eq!([1900, 2000, 2023, 2024].map(last), [false, true, false, true]);
    }
}
