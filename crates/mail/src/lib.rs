//! Mails: their texts in French and English, how they are written, and how a mail server takes them.
//!
//! A mail is [posted](post()) in the transaction of whatever it is about: its row and the task that sends it are written together. The
//! task `mail.send`, which is not here, hands it to a server by a [`Mailer`], which says exactly what is known of it afterwards.
//!
//! | module | knows |
//! |---|---|
//! | `language` | French and English |
//! | `template` | the mails there are, and what each tells |
//! | `render` | from a template to subject, text and HTML |
//! | `envelope` | a mail as the lines that go over the wire |
//! | `mailer` | the server, or the log in place of one |
//! | `connection` | a mail said over SMTP, step by step |
//! | `verdict` | what became of a mail |
//! | `post` | a mail and its task, written in a transaction |
//! | `digest` | now and then a mail of all tasks that failed for good |
//! | `error` | what can go wrong before a server is asked |
//!
//! ```
//! use lovage_mail::{Language, Reset, Template, render};
//!
//! # fn main() -> Result<(), lovage_mail::Error> {
//! let reset = Template::Reset(Reset {
//!     name: "Ada".to_owned(),
//!     url: "https://lovage.example/reset?token=abc".to_owned(),
//!     minutes: 30,
//! });
//! let mail = render(&reset, Language::French)?;
//! assert!(mail.text.contains("https://lovage.example/reset?token=abc"));
//! # Ok(())
//! # }
//! ```

mod connection;
mod digest;
mod envelope;
mod error;
mod language;
mod mailer;
mod post;
mod render;
mod template;
mod verdict;

pub use digest::tell_of_failures;
pub use envelope::Mail;
pub use error::Error;
pub use language::Language;
pub use mailer::Mailer;
pub use post::{TASK, post, post_again};
pub use render::{Rendered, render};
pub use template::{FailedTask, PasswordChanged, Reset, TasksFailed, Template, Welcome};
pub use verdict::Verdict;
