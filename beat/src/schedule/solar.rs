//! Runs by the sun, for Celery's events and horizons (`celery/schedules.py`, `solar`).

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};
use solar_positioning::{Horizon, Location, SolarEvents, delta_t};

/// Celery looks so far ahead for an event that does not happen every day.
const SEARCH_DAYS: i64 = 366;
/// One search covers so many of them.
const STEP_DAYS: i64 = 2;

/// What the sun does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolarEvent {
    /// Its centre comes up to 18° below the horizon.
    DawnAstronomical,
    /// Its centre comes up to 12° below the horizon.
    DawnNautical,
    /// Its centre comes up to 6° below the horizon.
    DawnCivil,
    /// Its upper edge comes up to 0°34′ below the horizon, where refraction shows it on the horizon.
    Sunrise,
    /// It crosses the meridian.
    SolarNoon,
    /// Its upper edge goes down to 0°34′ below the horizon.
    Sunset,
    /// Its centre goes down to 6° below the horizon.
    DuskCivil,
    /// Its centre goes down to 12° below the horizon.
    DuskNautical,
    /// Its centre goes down to 18° below the horizon.
    DuskAstronomical,
}

/// Celery's names.
const NAMES: [(SolarEvent, &str); 9] = [
    (SolarEvent::DawnAstronomical, "dawn_astronomical"),
    (SolarEvent::DawnNautical, "dawn_nautical"),
    (SolarEvent::DawnCivil, "dawn_civil"),
    (SolarEvent::Sunrise, "sunrise"),
    (SolarEvent::SolarNoon, "solar_noon"),
    (SolarEvent::Sunset, "sunset"),
    (SolarEvent::DuskCivil, "dusk_civil"),
    (SolarEvent::DuskNautical, "dusk_nautical"),
    (SolarEvent::DuskAstronomical, "dusk_astronomical"),
];

impl SolarEvent {
    /// Its name, as in Celery.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(event, _)| *event == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for SolarEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why there is no such event or place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSolar {
    /// No such event.
    #[error(
        "there is no solar event {0:?}; right would be one of dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset, dusk_civil, dusk_nautical, dusk_astronomical"
    )]
    Event(String),
    /// No such latitude.
    #[error("latitude {0} is out of bounds; right would be from -90 (south) to 90 (north)")]
    Latitude(f64),
    /// No such longitude.
    #[error("longitude {0} is out of bounds; right would be from -180 (west) to 180 (east)")]
    Longitude(f64),
}

impl FromStr for SolarEvent {
    type Err = BadSolar;

    fn from_str(text: &str) -> Result<Self, BadSolar> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map_or_else(
            || Err(BadSolar::Event(text.to_owned())),
            |(event, _)| Ok(*event),
        )
    }
}

/// An event as it is seen from a place at sea level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Solar {
    event: SolarEvent,
    place: Location,
}

impl Solar {
    /// Degrees: latitude north of the equator, longitude east of Greenwich.
    ///
    /// # Errors
    /// There is no such place.
    pub fn new(event: SolarEvent, latitude: f64, longitude: f64) -> Result<Self, BadSolar> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(BadSolar::Latitude(latitude));
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(BadSolar::Longitude(longitude));
        }
        let place = Location {
            latitude,
            longitude,
        };
        Ok(Self { event, place })
    }

    /// The event.
    pub fn event(self) -> SolarEvent {
        self.event
    }

    /// In degrees north of the equator.
    pub fn latitude(self) -> f64 {
        self.place.latitude
    }

    /// In degrees east of Greenwich.
    pub fn longitude(self) -> f64 {
        self.place.longitude
    }

    /// The first event after `last`, to the second; days without it are passed over. `None`: not within 366 days.
    pub fn next_after(self, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut start = last;
        let end = last.checked_add_signed(TimeDelta::days(SEARCH_DAYS))?;
        while start < end {
            let until = start.checked_add_signed(TimeDelta::days(STEP_DAYS))?;
            match self.search(start, until) {
                // Rounding may put an event back to where the last search ended.
                Some(found) if found.round_subsecs(0) <= last => {
                    start = found + TimeDelta::seconds(1)
                }
                Some(found) => return Some(found.round_subsecs(0)),
                None => start = until,
            }
        }
        None
    }

    fn search(self, start: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let delta_t = delta_t::estimate_from_date_like(&start).ok()?;
        let (sun, place) = (SolarEvents::new(), self.place);
        let rise = |angle| sun.next_rise(&start, &until, place, delta_t, Horizon::Custom(angle));
        let set = |angle| sun.next_set(&start, &until, place, delta_t, Horizon::Custom(angle));
        let found = match self.event {
            SolarEvent::DawnAstronomical => rise(-18.0),
            SolarEvent::DawnNautical => rise(-12.0),
            SolarEvent::DawnCivil => rise(-6.0),
            SolarEvent::Sunrise => rise(edge_on_horizon(start)),
            SolarEvent::SolarNoon => sun.next_transit(&start, &until, place.longitude, delta_t),
            SolarEvent::Sunset => set(edge_on_horizon(start)),
            SolarEvent::DuskCivil => set(-6.0),
            SolarEvent::DuskNautical => set(-12.0),
            SolarEvent::DuskAstronomical => set(-18.0),
        };
        found.ok().flatten()
    }
}

/// Where the sun's centre is when its upper edge is 34′ below the horizon, in degrees. Its disc is larger in January, when
/// it is nearer: half of it is 16.0′ at the mean distance, 1.7 % more or less over the year.
fn edge_on_horizon(at: DateTime<Utc>) -> f64 {
    let angle = f64::from(at.ordinal()) - 4.0;
    let distance = 1.0 - 0.01672 * (angle * 0.985_6).to_radians().cos();
    -(34.0 + 15.993 / distance) / 60.0
}
