//! Everything that is printed goes through here: colours where they are wanted, and nowhere else.
//!
//! `anstream` drops colours for pipes, `NO_COLOR` and dumb terminals. Data (JSON, results) goes to standard output byte
//! for byte; what is said about it goes to standard error.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use clap::builder::styling::Styles;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Headings.
pub(crate) const HEADING: Style = AnsiColor::Green.on_default().bold();
/// Names that one types: commands, tasks, queues.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default().bold();
/// Good ends.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is beside the point.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The colours of help texts.
pub(crate) const HELP: Styles = Styles::styled()
    .header(HEADING)
    .usage(HEADING)
    .literal(NAME)
    .placeholder(AnsiColor::Cyan.on_default())
    .error(BAD)
    .valid(GOOD)
    .invalid(AnsiColor::Yellow.on_default());

/// A line for people on standard output; may hold styles.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout(), "{text}")
}

/// A line of data on standard output, as it is.
pub(crate) fn data(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// JSON on standard output: indented for a terminal, one line for a program.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    if is_terminal() {
        data(format_args!("{value:#}"))
    } else {
        data(value)
    }
}

/// A line on standard error. Nobody reading it is no reason to stop.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A warning on standard error.
pub(crate) fn warning(text: impl Display) {
    note(format_args!("{WARNING}warning:{WARNING:#} {text}"));
}

/// What an accepted flag has to say for itself.
pub(crate) fn hint(text: impl Display) {
    note(format_args!("{FAINT}hint: {text}{FAINT:#}"));
}

/// An error on standard error.
pub(crate) fn error(text: impl Display) {
    note(format_args!("{BAD}error:{BAD:#} {text}"));
}

/// An error on standard error, as JSON in one line.
pub(crate) fn json_error(text: &str) {
    let _ = writeln!(io::stderr(), "{}", serde_json::json!({"error": text}));
}

/// Foreign text made safe for a terminal: control characters are shown, not obeyed; line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| {
            if harmful(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect::<String>()
        .into()
}

/// As [`printable`], in one line.
pub(crate) fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// At most so many characters; an ellipsis says that there were more.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept = text.chars().take(most.saturating_sub(1));
            Cow::Owned(kept.chain(std::iter::once('…')).collect())
        }
    }
}

/// A length of time for people: `0.4 s`, `3 min 05 s`, `2 h 10 min`, `4 d 7 h`.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{seconds}.{} s", length.subsec_millis() / 100),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, ..) => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {} h", thousands(days), hours % 24),
    }
}

/// A number with its noun: `1 message`, `2 messages`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// `12345` as `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many in that time, as a rate: `12,345/s`.
pub(crate) fn per_second(number: u64, time: Duration) -> String {
    let micros = time.as_micros().max(1);
    let rate = u128::from(number) * 1_000_000 / micros;
    format!("{}/s", thousands(u64::try_from(rate).unwrap_or(u64::MAX)))
}

/// Whether somebody types what is read.
pub(crate) fn is_typed_at() -> bool {
    io::stdin().is_terminal()
}

/// Whether somebody can be asked.
pub(crate) fn can_ask() -> bool {
    is_typed_at() && io::stderr().is_terminal()
}

/// Asks a yes-or-no question; anything but yes is no.
pub(crate) fn confirm(question: impl Display) -> io::Result<bool> {
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N]: ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// A progress bar on standard error; invisible when that is no terminal.
pub(crate) fn progress(total: u64, verb: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_prefix(verb);
    let style = ProgressStyle::with_template(
        "{prefix:>9} [{bar:32.green/dim}] {human_pos}/{human_len} {rate:.cyan} {eta:.dim}",
    )
    .expect("the template is a constant that the tests draw");
    let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // The bar's writer is a buffer: nothing can fail.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    });
    bar.set_style(style.progress_chars("=> "));
    bar
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, cut, duration, one_line, per_second, printable, progress, thousands};

    #[test]
    fn numbers_are_grouped() {
        let check = |number, expected: &str| assert_eq!(thousands(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(count(1, "task"), "1 task");
        assert_eq!(count(0, "task"), "0 tasks");
        assert_eq!(per_second(3000, Duration::from_millis(1500)), "2,000/s");
        assert_eq!(per_second(5, Duration::ZERO), "5,000,000/s");
    }

    #[test]
    fn times_are_told_in_two_units() {
        let check = |seconds, expected: &str| {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected);
        };
        check(0.0, "0.0 s");
        check(9.96, "9.9 s");
        check(59.9, "59 s");
        check(185.0, "3 min 05 s");
        check(7800.0, "2 h 10 min");
        check(371_000.0, "4 d 7 h");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(cut("日本語", 3), "日本語");
        assert_eq!(cut("日本語x", 3), "日本…");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(printable("é\t日本"), "é\t日本");
        assert_eq!(one_line("a\nb\u{7}"), "a\\nb\\u{7}");
    }

    #[test]
    fn the_template_of_the_bar_is_right() {
        let bar = progress(10, "sending");
        bar.inc(10);
        assert_eq!(bar.position(), 10);
        bar.finish_and_clear();
    }
}
