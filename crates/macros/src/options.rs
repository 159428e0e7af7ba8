//! What may stand inside `#[lovage::task(...)]`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprArray, ExprLit, Lit, LitBool, LitInt, LitStr, Result, Token};

use crate::admission::{self, Admission};
use crate::rate;
use crate::schedule::Schedule;

/// Every option there is, in the order in which a message lists them.
const NAMES: [&str; 27] = [
    "name",
    "bind",
    "queue",
    "priority",
    "rate_limit",
    "ignore_result",
    "track_started",
    "expires",
    "time_limit",
    "hard_time_limit",
    "max_retries",
    "min_retry_delay",
    "max_retry_delay",
    "retry_for_unexpected",
    "retry_for",
    "dont_retry_for",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "default_retry_delay",
    "acks_late",
    "content_type",
    "on_failure",
    "on_success",
    "wrapper",
    "params_type",
    SCHEDULE,
];
/// The one that may be given more than once.
const SCHEDULE: &str = "schedule";

/// The options of one task, parsed and checked.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) bind: bool,
    /// The type that stands for the task, when it is not to be called like the function.
    pub(crate) wrapper: Option<Ident>,
    pub(crate) params_type: Option<Ident>,
    /// What goes to `#[celery::task]` as it is.
    pub(crate) passed_on: Vec<TokenStream>,
    /// Calls on a `TaskSpec` that record Lovage's own options.
    pub(crate) recorded: Vec<TokenStream>,
    /// When beat sends it.
    pub(crate) schedules: Vec<Schedule>,
    admission: Admission,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let key = Ident::parse_any(input)?;
            let name = key.to_string();
            if !names().any(|known| known == name) {
                return Err(unknown(&key));
            }
            if name != SCHEDULE && seen.contains(&name) {
                return Err(Error::new(key.span(), format!("`{name}` is given twice")));
            }
            options.take(&key, &name, input)?;
            seen.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let admission = options.admission.recorded()?;
        options.recorded.extend(admission);
        Ok(options)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(admission::NAMES)
}

impl Options {
    fn take(&mut self, key: &Ident, name: &str, input: ParseStream<'_>) -> Result<()> {
        match name {
            "name" => self.name = Some(task_name(input)?),
            "bind" => self.bind = switch(input)?.value,
            "wrapper" => self.wrapper = Some(value(input)?),
            "params_type" => self.params_type = Some(value(input)?),
            "time_limit" | "hard_time_limit" | "max_retries" | "min_retry_delay"
            | "max_retry_delay" => {
                let number = whole_number(input)?;
                self.passed_on.push(quote!(#key = #number));
            }
            "retry_for_unexpected" | "acks_late" => {
                let switch = switch(input)?;
                self.passed_on.push(quote!(#key = #switch));
            }
            "content_type" | "on_failure" | "on_success" => {
                let name: Ident = value(input)?;
                self.passed_on.push(quote!(#key = #name));
            }
            "queue" => {
                let queue = queue_name(input)?;
                self.recorded.push(quote!(.with_queue(#queue)));
            }
            "priority" => {
                let priority = priority(input)?;
                self.recorded.push(quote!(.with_priority(#priority)));
            }
            "rate_limit" => {
                let limit: LitStr = value(input)?;
                let per_second = rate::per_second(&limit.value())
                    .map_err(|message| Error::new(limit.span(), message))?;
                self.recorded.push(quote! {
                    .with_rate_limit(::lovage::__macro::RateLimit::checked(#limit, #per_second))
                });
            }
            "ignore_result" => {
                let switch = switch(input)?;
                self.recorded.push(quote!(.with_ignore_result(#switch)));
            }
            "track_started" => {
                let switch = switch(input)?;
                self.recorded.push(quote!(.with_track_started(#switch)));
            }
            "retry_for" | "dont_retry_for" => {
                let classes = classes(input)?;
                self.retry(key, &quote!(&[#(#classes),*]));
            }
            "retry_backoff" => {
                let factor = backoff(input)?;
                self.retry(&Ident::new("backoff", key.span()), &quote!(Some(#factor)));
            }
            "retry_jitter" => {
                let switch = switch(input)?;
                self.retry(&Ident::new("jitter", key.span()), &quote!(Some(#switch)));
            }
            "default_retry_delay" => {
                let seconds = whole_number(input)?;
                let delay = quote!(Some(::core::time::Duration::from_secs(#seconds)));
                self.retry(&Ident::new("default_delay", key.span()), &delay);
            }
            "retry_backoff_max" => {
                let seconds = whole_number(input)?;
                self.recorded.push(quote! {
                    .with_max_retry_delay(::core::time::Duration::from_secs(#seconds))
                });
            }
            "expires" => {
                let seconds = whole_number(input)?;
                self.recorded.push(quote! {
                    .with_expires(::core::time::Duration::from_secs(#seconds))
                });
            }
            SCHEDULE => self.schedules.push(Schedule::read(key, input)?),
            name if admission::NAMES.contains(&name) => self.admission.take(key, name, input)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn retry(&mut self, field: &Ident, value: &TokenStream) {
        self.recorded.push(quote! {
            .with_retry(::lovage::__macro::RetryPolicy {
                #field: #value,
                ..::core::default::Default::default()
            })
        });
    }
}

pub(crate) fn value<T: Parse>(input: ParseStream<'_>) -> Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// `retry_for = ["OSError", "app.Busy"]`.
fn classes(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let list: ExprArray = value(input)?;
    let name = |item: &Expr| match item {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) if !text.value().trim().is_empty() => Ok(text.clone()),
        other => Err(Error::new_spanned(
            other,
            "expected the name of an exception class, such as \"OSError\"",
        )),
    };
    list.elems.iter().map(name).collect()
}

/// `retry_backoff = true` (or alone), `false`, or a number of seconds.
fn backoff(input: ParseStream<'_>) -> Result<u32> {
    if !input.peek(Token![=]) || input.peek2(LitBool) {
        return Ok(u32::from(switch(input)?.value));
    }
    whole_number(input)?.base10_parse()
}

/// `acks_late = true`, or `acks_late` alone.
pub(crate) fn switch(input: ParseStream<'_>) -> Result<LitBool> {
    if input.peek(Token![=]) {
        value(input)
    } else {
        Ok(LitBool::new(true, Span::call_site()))
    }
}

/// rusty-celery holds these in a `u32`; a larger one would be its error, at a place nobody wrote.
pub(crate) fn whole_number(input: ParseStream<'_>) -> Result<LitInt> {
    let number: LitInt = value(input)?;
    number.base10_parse::<u32>().map_err(|_| {
        Error::new(
            number.span(),
            format!("expected a whole number up to {}", u32::MAX),
        )
    })?;
    Ok(number)
}

fn priority(input: ParseStream<'_>) -> Result<LitInt> {
    let number: LitInt = value(input)?;
    number
        .base10_parse::<u8>()
        .map_err(|_| Error::new(number.span(), "a priority is a whole number from 0 to 255"))?;
    Ok(number)
}

fn task_name(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = value(input)?;
    if name.value().trim().is_empty() {
        return Err(Error::new(
            name.span(),
            "a task needs a name, such as \"mail.send\"",
        ));
    }
    Ok(name)
}

/// The rule of `lovage_protocol::QueueName::parse`, which the run-time part relies on.
pub(crate) fn queue_name(input: ParseStream<'_>) -> Result<LitStr> {
    let queue: LitStr = value(input)?;
    let text = queue.value();
    let fault = if text.is_empty() {
        "a queue name cannot be empty"
    } else if text.len() > 255 {
        "a queue name has at most 255 bytes"
    } else if text.chars().any(char::is_control) {
        "a queue name cannot hold control characters"
    } else {
        return Ok(queue);
    };
    Err(Error::new(queue.span(), fault))
}

fn unknown(key: &Ident) -> Error {
    nearest(key, "option", names())
}

/// That there is no such thing, with the one that is most like it or a list of all.
pub(crate) fn nearest<'a>(key: &Ident, what: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let given = key.to_string();
    let names: Vec<&str> = names.collect();
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&given, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 2);
    let message = match nearest {
        Some((_, name)) => format!("unknown {what} `{given}`; did you mean `{name}`?"),
        None => format!("unknown {what} `{given}`; there are: {}", names.join(", ")),
    };
    Error::new(key.span(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tokens: TokenStream) -> String {
        syn::parse2::<Options>(tokens)
            .err()
            .expect("these options are wrong")
            .to_string()
    }

    #[test]
    fn every_listed_option_is_taken() {
        let samples = |name: &str| match name {
            "name" | "queue" => quote!("a.b"),
            "rate_limit" => quote!("3/m"),
            "retry_for" | "dont_retry_for" => quote!(["OSError"]),
            "bind"
            | "ignore_result"
            | "track_started"
            | "retry_for_unexpected"
            | "retry_jitter"
            | "acks_late" => {
                quote!(true)
            }
            "content_type" | "on_failure" | "on_success" | "wrapper" | "params_type" => {
                quote!(Thing)
            }
            _ => quote!(7),
        };
        for name in NAMES.into_iter().filter(|name| *name != SCHEDULE) {
            let (key, value) = (Ident::new(name, Span::call_site()), samples(name));
            syn::parse2::<Options>(quote!(#key = #value)).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn options_about_when_it_may_run_are_recorded() {
        let recorded = |tokens| {
            let options: Options = syn::parse2(tokens).unwrap_or_else(|e| panic!("{e}"));
            let calls = options
                .recorded
                .iter()
                .map(|call| call.to_string().replace(' ', ""));
            calls.collect::<String>()
        };
        assert_eq!(
            recorded(quote!(unique = "a, b", join, limit = "5 per a; 100/m")),
            concat!(
                r#".with_unique(::lovage::__macro::Unique::by(["a","b"]).join())"#,
                r#".with_limit(::lovage::__macro::Limit::parse("5pera").expect("themacrohasreadit"))"#,
                r#".with_limit(::lovage::__macro::Limit::parse("100/m").expect("themacrohasreadit"))"#
            )
        );
        assert!(
            recorded(quote!(unique, unique_until = "start")).contains("by_all().until_start()")
        );
        assert!(recorded(quote!(debounce = 5, debounce_by = "a")).contains("By::Names"));
        assert_eq!(
            message(quote!(join)),
            "this option says something about `unique`, which is not given"
        );
        assert!(message(quote!(limit = "5/d")).starts_with("`5/d` is no limit: "));
    }

    #[test]
    fn a_switch_may_stand_alone() {
        let options: Options = syn::parse_quote!(bind, acks_late, name = "x",);
        assert!(options.bind);
        assert_eq!(options.passed_on[0].to_string(), "acks_late = true");
    }

    #[test]
    fn faults_say_what_would_be_right() {
        let check = |tokens, expected| assert_eq!(message(tokens), expected);
        check(
            quote!(max_retry = 3),
            "unknown option `max_retry`; did you mean `max_retries`?",
        );
        check(quote!(name = "a", name = "b"), "`name` is given twice");
        check(
            quote!(priority = 256),
            "a priority is a whole number from 0 to 255",
        );
        check(
            quote!(max_retries = -1),
            "expected a whole number up to 4294967295",
        );
        check(
            quote!(time_limit = 4294967296),
            "expected a whole number up to 4294967295",
        );
        check(
            quote!(retry_for = [OSError]),
            "expected the name of an exception class, such as \"OSError\"",
        );
        check(quote!(queue = ""), "a queue name cannot be empty");
        check(
            quote!(name = " "),
            "a task needs a name, such as \"mail.send\"",
        );
        assert!(
            message(quote!(zzzzzzzzzz = 1))
                .starts_with("unknown option `zzzzzzzzzz`; there are: name, ")
        );
    }
}
