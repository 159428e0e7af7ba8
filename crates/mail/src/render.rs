//! From a template to subject, text and HTML.

use std::sync::OnceLock;

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig};

use crate::{Error, Language, Template};

/// A mail that is written, without sender and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The template's name.
    pub template: &'static str,
    /// What it is written in.
    pub language: Language,
    /// One line.
    pub subject: String,
    /// For whoever reads plain text.
    pub text: String,
    /// For everybody else.
    pub html: String,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name)))),*]
    };
}

/// Each mail is two files: the first line of the text is the subject.
const SOURCES: &[(&str, &str)] = sources![
    "layout.html",
    "en/welcome.txt",
    "en/welcome.html",
    "en/reset.txt",
    "en/reset.html",
    "en/password_changed.txt",
    "en/password_changed.html",
    "en/tasks_failed.txt",
    "en/tasks_failed.html",
    "fr/welcome.txt",
    "fr/welcome.html",
    "fr/reset.txt",
    "fr/reset.html",
    "fr/password_changed.txt",
    "fr/password_changed.html",
    "fr/tasks_failed.txt",
    "fr/tasks_failed.html",
];

/// Writes a mail.
///
/// # Errors
/// [`Error::Template`] when the template asks for something that it is not given.
pub fn render(template: &Template, language: Language) -> Result<Rendered, Error> {
    let name = template.name();
    let values = template.values();
    let fill = |kind: &str| {
        let file = format!("{language}/{name}.{kind}");
        let filled = environment()
            .get_template(&file)
            .and_then(|template| template.render(&values));
        filled.map_err(|source| Error::Template {
            template: name,
            language,
            source,
        })
    };
    let text = fill("txt")?;
    let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
    Ok(Rendered {
        template: name,
        language,
        // What was filled in may hold anything; a subject is one line.
        subject: subject.split_whitespace().collect::<Vec<_>>().join(" "),
        text: text.trim_start().to_owned(),
        html: fill("html")?,
    })
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.expect("only the usual marks are used"));
        for (name, source) in SOURCES {
            environment
                .add_template(name, source)
                .expect("a test reads every template");
        }
        environment
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::render;
    use crate::{
        FailedTask, Language, PasswordChanged, Rendered, Reset, TasksFailed, Template, Welcome,
    };

    fn every() -> Vec<Template> {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let text = |text: &str| text.to_owned();
        vec![
            Template::Welcome(Welcome {
                name: text("Ada <b>"),
                url: text("https://lovage.example/?a=1&b=2"),
                email: text("ada@example.org"),
            }),
            Template::Reset(Reset {
                name: text("Ada <b>"),
                url: text("https://lovage.example/?a=1&b=2"),
                minutes: 30,
            }),
            Template::PasswordChanged(PasswordChanged {
                name: text("Ada <b>"),
                at,
                url: text("https://lovage.example/?a=1&b=2"),
            }),
            Template::TasksFailed(TasksFailed {
                total: 3,
                since: at,
                tasks: vec![FailedTask {
                    name: text("app.t"),
                    id: text("0001"),
                    exception: text("ValueError: <b>boom</b>"),
                    at,
                }],
                more: 2,
            }),
        ]
    }

    #[test]
    fn every_mail_is_written_in_every_language() {
        for template in every() {
            let both = Language::ALL.map(|language| render(&template, language).unwrap());
            for Rendered {
                language,
                subject,
                text,
                html,
                ..
            } in &both
            {
                let name = template.name();
                assert!(!subject.is_empty() && !subject.contains('\n'), "{name}");
                assert!(!text.starts_with(char::is_whitespace), "{name}: {text:?}");
                assert!(!text.contains("{{") && !html.contains("{{"), "{name}");
                assert!(
                    html.contains(&format!("<html lang=\"{language}\">")),
                    "{html}"
                );
                assert!(
                    !html.contains("<b>"),
                    "{name}: what is filled in is escaped\n{html}"
                );
                assert!(!text.contains("&lt;"), "{name}: a text is not\n{text}");
            }
            assert_ne!(both[0].subject, both[1].subject);
            assert_ne!(both[0].text, both[1].text);
        }
    }

    #[test]
    fn a_link_is_in_the_text_as_it_is() {
        for template in every().iter().take(3) {
            for language in Language::ALL {
                let mail = render(template, language).unwrap();
                assert!(mail.text.contains("https://lovage.example/?a=1&b=2"));
                assert!(
                    mail.html
                        .contains("href=\"https:&#x2f;&#x2f;lovage.example"),
                    "{}",
                    mail.html
                );
            }
        }
    }

    #[test]
    fn a_digest_tells_of_what_it_leaves_out() {
        let digest = every().pop().unwrap();
        let mail = render(&digest, Language::English).unwrap();
        assert_eq!(mail.subject, "Lovage: 3 tasks failed for good");
        for part in ["app.t", "0001", "ValueError: <b>boom</b>", "2 more"] {
            assert!(mail.text.contains(part), "{part}: {}", mail.text);
        }
        let mail = render(&digest, Language::French).unwrap();
        assert!(mail.text.contains("2 autres"), "{}", mail.text);
    }
}
