//! Durations as texts with units: read as the settings read them, written back as short as they can be.

use std::{fmt, time::Duration};

use lovage_settings::parse_duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration that is a text such as `5m` in files, requests and storage. A bare number is refused: nobody can see whether
/// it means seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WithUnit(pub Duration);

impl fmt::Display for WithUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ] {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

impl Serialize for WithUnit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WithUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = WithUnit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as a text with its unit, such as \"5m\" or \"1h30m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WithUnit, E> {
                parse_duration(text).map(WithUnit).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::WithUnit;

    #[test]
    fn durations_are_written_as_they_are_read() {
        let check = |text: &str, seconds: f64| {
            let read: WithUnit = serde_json::from_value(text.into()).unwrap();
            assert_eq!(read.0, Duration::from_secs_f64(seconds), "{text}");
            assert_eq!(read.to_string(), text);
        };
        check("250ms", 0.25);
        check("5m", 300.0);
        check("1h30m", 5400.0);
        check("1d2h3m4s5ms", 93_784.005);
        check("0s", 0.0);
    }

    #[test]
    fn a_bare_number_is_refused() {
        let check = |json: &str| {
            let error = serde_json::from_str::<WithUnit>(json)
                .unwrap_err()
                .to_string();
            assert!(error.contains("unit"), "{json}: {error}");
        };
        check("300");
        check("0.5");
        check("\"300\"");
    }
}
