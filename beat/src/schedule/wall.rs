//! What the clocks on the wall do twice a year, and what that makes of a run (docs/adr/0025).

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::{Remark, Run};

/// How far the zone's clocks are ahead of UTC at a time of UTC.
pub(crate) fn offset_at(utc: NaiveDateTime, zone: Tz) -> TimeDelta {
    let seconds = zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
    TimeDelta::seconds(seconds.into())
}

/// The runs that a time of the wall clock gives: one, or two when the clock repeats it and `repeats` asks for both.
pub(crate) fn runs(wall: NaiveDateTime, zone: Tz, repeats: bool) -> impl Iterator<Item = Run> {
    let (first, second) = match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(at) => (Run::plain(at.to_utc()), None),
        MappedLocalTime::Ambiguous(one, other) => {
            let (early, late) = (one.min(other).to_utc(), one.max(other).to_utc());
            if repeats {
                let second = Run::new(late, Remark::SecondPassing { wall });
                (Run::new(early, Remark::FirstPassing { wall }), Some(second))
            } else {
                (Run::new(early, Remark::OnceOfTwo { wall }), None)
            }
        }
        MappedLocalTime::None => (shifted(wall, zone), None),
    };
    std::iter::once(first).chain(second)
}

/// The clock never shows it: it counts on the clock of before the change.
fn shifted(wall: NaiveDateTime, zone: Tz) -> Run {
    let at = wall - offset_before(wall, zone);
    Run::new(at.and_utc(), Remark::Shifted { wall })
}

/// The offset in force right before the change that leaves out `wall`.
fn offset_before(wall: NaiveDateTime, zone: Tz) -> TimeDelta {
    // Gaps begin at whole quarters of an hour and are a day long at most.
    let quarters = (1..=24 * 4 + 1).map(|quarter| wall - TimeDelta::minutes(15 * quarter));
    let shown = quarters
        .map(|earlier| (earlier, zone.from_local_datetime(&earlier)))
        .find_map(|(earlier, shown)| match shown {
            MappedLocalTime::Single(at) => Some(earlier - at.naive_utc()),
            MappedLocalTime::Ambiguous(one, other) => Some(earlier - one.max(other).naive_utc()),
            MappedLocalTime::None => None,
        });
    shown.unwrap_or_else(|| offset_at(wall - TimeDelta::days(2), zone))
}

/// Whether the zone's clocks change between two instants, ends included.
pub fn changes_between(from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> bool {
    let mut at = from.naive_utc();
    let offset = offset_at(at, zone);
    // A zone may change and change back, but not within hours.
    while at < to.naive_utc() {
        at += TimeDelta::hours(6);
        if offset_at(at.min(to.naive_utc()), zone) != offset {
            return true;
        }
    }
    false
}
