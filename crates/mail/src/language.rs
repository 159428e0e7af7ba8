//! The languages of the mails.

use std::{fmt, str::FromStr};

use crate::Error;

/// What a mail is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// `en`.
    #[default]
    English,
    /// `fr`.
    French,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::English, Self::French];

    /// Its code, `en` or `fr`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }
}

impl FromStr for Language {
    type Err = Error;

    /// Reads a code, also one with a country (`fr-CH`, `en_GB`).
    fn from_str(text: &str) -> Result<Self, Error> {
        let code = text.split(['-', '_']).next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|language| language.code().eq_ignore_ascii_case(code))
            .ok_or_else(|| Error::Language(text.to_owned()))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn a_country_does_not_matter() {
        let check = |text: &str, language| assert_eq!(text.parse::<Language>().ok(), language);
        check("fr-CH", Some(Language::French));
        check("EN", Some(Language::English));
        check("en_GB", Some(Language::English));
        check("de", None);
        check("", None);
    }
}
