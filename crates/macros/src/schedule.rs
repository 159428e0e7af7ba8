//! The option `schedule(...)`: when beat sends the task, said beside it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, LitInt, LitStr, Result, Token, parenthesized};

use crate::crontab;
use crate::expand::default_value;
use crate::function::{Kind, Parameter};
use crate::options::{nearest, queue_name, switch, value, whole_number};
use crate::rescope::one_module_down;

/// What may stand inside, in the order in which a message lists it.
const NAMES: [&str; 22] = [
    "name",
    "crontab",
    "every",
    "relative",
    "solar",
    "at",
    "timezone",
    "args",
    "kwargs",
    "queue",
    "priority",
    "expires",
    "start",
    "end",
    "enabled",
    "max_runs",
    "jitter",
    "missed",
    "max_missed",
    "deadline",
    "description",
    "exchange",
];
/// One of these says when it runs.
const TIMES: [&str; 4] = ["crontab", "every", "solar", "at"];

/// One schedule of a task, read and checked as far as that can be done without the function.
pub(crate) struct Schedule {
    /// Where it stands.
    span: Span,
    name: Option<LitStr>,
    /// Calls on a `Periodic` that set its fields.
    fields: Vec<TokenStream>,
    args: Vec<Expr>,
    kwargs: Vec<(Ident, Expr)>,
}

struct Named {
    name: Ident,
    value: Expr,
}

impl Parse for Named {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = Ident::parse_any(input)?;
        let value = value(input)?;
        Ok(Self { name, value })
    }
}

impl Schedule {
    /// Reads what stands in the parentheses after the word.
    pub(crate) fn read(key: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let content;
        parenthesized!(content in input);
        let mut schedule = Self {
            span: key.span(),
            name: None,
            fields: Vec::new(),
            args: Vec::new(),
            kwargs: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        while !content.is_empty() {
            let key = Ident::parse_any(&content)?;
            let name = key.to_string();
            if seen.contains(&name) {
                return Err(Error::new(key.span(), format!("`{name}` is given twice")));
            }
            if TIMES.contains(&name.as_str())
                && let Some(other) = seen.iter().find(|seen| TIMES.contains(&seen.as_str()))
            {
                let message =
                    format!("`{other}` says when it runs already; leave one of the two out");
                return Err(Error::new(key.span(), message));
            }
            schedule.take(&key, &name, &content)?;
            seen.push(name);
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        schedule.makes_sense(&seen)?;
        Ok(schedule)
    }

    fn makes_sense(&self, seen: &[String]) -> Result<()> {
        let has = |name: &str| seen.iter().any(|seen| seen == name);
        let fault = |message: &str| Err(Error::new(self.span, message));
        if !TIMES.iter().any(|name| has(name)) {
            return fault(
                "nothing says when it runs: give one of `crontab`, `every`, `solar` and `at`",
            );
        }
        if has("relative") && !has("every") {
            return fault("`relative` says something about `every`, which is not given");
        }
        if has("queue") && has("exchange") {
            return fault("a schedule has a `queue` or an `exchange`, not both");
        }
        Ok(())
    }

    fn take(&mut self, key: &Ident, name: &str, input: ParseStream<'_>) -> Result<()> {
        match name {
            "name" => self.name = Some(schedule_name(input)?),
            "crontab" => {
                let text: LitStr = value(input)?;
                crontab::check(&text.value()).map_err(|fault| Error::new(text.span(), fault))?;
                self.set(name, &text);
            }
            "every" | "expires" | "jitter" | "deadline" => {
                let text = duration(input)?;
                self.set(name, &text);
            }
            "solar" => self.solar(input)?,
            "relative" | "enabled" => {
                let yes = switch(input)?;
                self.set(name, &yes);
            }
            "at" | "start" | "end" => {
                let text = instant(input)?;
                self.set(name, &text);
            }
            "timezone" => {
                let text = zone(input)?;
                self.set(name, &text);
            }
            "queue" => {
                let text = queue_name(input)?;
                self.set(name, &text);
            }
            "exchange" | "description" => {
                let text: LitStr = value(input)?;
                self.set(name, &text);
            }
            "priority" => {
                let number: LitInt = value(input)?;
                number.base10_parse::<u8>().map_err(|_| {
                    Error::new(number.span(), "a priority is a whole number from 0 to 255")
                })?;
                self.set(name, &number);
            }
            "max_runs" | "max_missed" => {
                let number = whole_number(input)?;
                if number.base10_parse::<u32>()? == 0 {
                    let message = format!("`{name}` is 1 or more; leave it out for no bound");
                    return Err(Error::new(number.span(), message));
                }
                self.set(name, &number);
            }
            "missed" => {
                let text: LitStr = value(input)?;
                if !["once", "skip", "all"].contains(&text.value().as_str()) {
                    let message = "missed runs are sent \"once\" (the last of them), or \"all\", or it is to \"skip\" them";
                    return Err(Error::new(text.span(), message));
                }
                self.set(name, &text);
            }
            "args" => {
                let content;
                parenthesized!(content in input);
                let args = Punctuated::<Expr, Token![,]>::parse_terminated(&content)?;
                self.args = args.into_iter().collect();
            }
            "kwargs" => {
                let content;
                parenthesized!(content in input);
                let kwargs = Punctuated::<Named, Token![,]>::parse_terminated(&content)?;
                let kwargs = kwargs
                    .into_iter()
                    .map(|Named { name, value }| (name, value));
                self.kwargs = kwargs.collect();
            }
            _ => return Err(nearest(key, "field of a schedule", NAMES.into_iter())),
        }
        Ok(())
    }

    fn set(&mut self, field: &str, value: &impl ToTokens) {
        self.fields.push(quote!(.set(#field, #value)));
    }

    /// `solar("sunset", 46.2, 6.14)`.
    fn solar(&mut self, input: ParseStream<'_>) -> Result<()> {
        let content;
        let parentheses = parenthesized!(content in input);
        let parts = Punctuated::<Expr, Token![,]>::parse_terminated(&content)?;
        let parts: Vec<Expr> = parts.into_iter().collect();
        let [event, latitude, longitude] = &parts[..] else {
            return Err(Error::new(
                parentheses.span.join(),
                "write event, latitude and longitude: `solar(\"sunset\", 46.2, 6.14)`",
            ));
        };
        self.fields
            .push(quote!(.seen_from(#event, #latitude, #longitude)));
        Ok(())
    }

    /// The call on a `TaskSpec` that records it, once the task's parameters are known.
    pub(crate) fn recorded(&self, task: &LitStr, parameters: &[Parameter]) -> Result<TokenStream> {
        let name = self.name.as_ref().unwrap_or(task);
        let arguments: Vec<&Parameter> = parameters
            .iter()
            .filter(|parameter| matches!(parameter.kind, Kind::Argument { .. }))
            .collect();
        let mut calls = Vec::new();
        for (place, arg) in self.args.iter().enumerate() {
            let parameter = arguments.get(place).ok_or_else(|| {
                let message = match arguments.len() {
                    1 => "the task takes 1 argument".to_owned(),
                    count => format!("the task takes {count} arguments"),
                };
                Error::new_spanned(arg, message)
            })?;
            let value = typed(parameter, arg);
            calls.push(quote!(.arg(#value)));
        }
        let mut given: Vec<String> = arguments
            .iter()
            .take(self.args.len())
            .map(|parameter| parameter.name.clone())
            .collect();
        for (key, value) in &self.kwargs {
            let name = key.unraw().to_string();
            let known = arguments.iter().find(|parameter| parameter.name == name);
            let parameter = known.ok_or_else(|| {
                let names = arguments.iter().map(|parameter| parameter.name.as_str());
                nearest(key, "parameter of the task", names)
            })?;
            if given.contains(&name) {
                let message = format!("`{name}` is given twice");
                return Err(Error::new(key.span(), message));
            }
            let value = typed(parameter, value);
            calls.push(quote!(.kwarg(#name, #value)));
            given.push(name);
        }
        let missing = arguments.iter().find(|parameter| {
            let needed = matches!(
                &parameter.kind,
                Kind::Argument {
                    default: None,
                    optional: false,
                    ..
                }
            );
            needed && !given.contains(&parameter.name)
        });
        if let Some(parameter) = missing {
            let name = &parameter.name;
            let message = format!(
                "the task needs `{name}`: give it in `args(...)` or as `kwargs({name} = ...)`"
            );
            return Err(Error::new(self.span, message));
        }
        let fields = &self.fields;
        Ok(quote! {
            .with_schedule(::lovage::__macro::Periodic::named(#name) #(#fields)* #(#calls)*)
        })
    }
}

/// A value that is what its parameter is.
fn typed(parameter: &Parameter, value: &Expr) -> TokenStream {
    let ty = one_module_down(parameter.ty.to_token_stream());
    let value = default_value(value);
    quote!({ let value: #ty = #value; value })
}

fn schedule_name(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = value(input)?;
    let text = name.value();
    if text.is_empty() || text.chars().count() > 200 || text.contains(char::is_control) {
        let message =
            "the name of a schedule has 1 to 200 characters, none of them a control character";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

/// The form of `lovage_settings::parse_duration`.
fn duration(input: ParseStream<'_>) -> Result<LitStr> {
    let literal: LitStr = value(input)?;
    let text = literal.value();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(digits.unwrap_or(rest.len()));
        let end = tail.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
        if number.parse::<f64>().is_err() || !["ms", "s", "m", "h", "d"].contains(&unit.trim()) {
            return Err(Error::new(literal.span(), DURATION));
        }
        rest = tail;
    }
    if text.is_empty() {
        return Err(Error::new(literal.span(), DURATION));
    }
    Ok(literal)
}

const DURATION: &str =
    "a duration is a number with its unit, ms, s, m, h or d, such as \"5m\" or \"1h30m\"";

/// As much of RFC 3339 as tells an instant from a date or a local time; beat reads it at start.
fn instant(input: ParseStream<'_>) -> Result<LitStr> {
    let literal: LitStr = value(input)?;
    let text = literal.value();
    let has_offset = text.ends_with(['Z', 'z'])
        || text.len() > 6
            && text.is_char_boundary(text.len() - 6)
            && text[text.len() - 6..].starts_with(['+', '-']);
    let is_date = text.len() > 10 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    if has_offset && is_date {
        return Ok(literal);
    }
    Err(Error::new(
        literal.span(),
        "an instant is RFC 3339 with its offset, such as \"2026-11-26T18:30:00Z\"",
    ))
}

fn zone(input: ParseStream<'_>) -> Result<LitStr> {
    let literal: LitStr = value(input)?;
    let text = literal.value();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_/+-".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        let message = "a time zone is an IANA name, such as \"Europe/Zurich\"";
        return Err(Error::new(literal.span(), message));
    }
    Ok(literal)
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;

    use super::*;

    fn read(tokens: TokenStream) -> Result<Schedule> {
        let parser = |input: ParseStream<'_>| {
            let key = Ident::parse_any(input)?;
            Schedule::read(&key, input)
        };
        parser.parse2(tokens)
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |tokens: TokenStream, words: &str| {
            let error = read(tokens).err().expect("it is wrong").to_string();
            assert!(error.contains(words), "{error}");
        };
        check(quote!(schedule()), "nothing says when it runs");
        check(quote!(schedule(crontab = "* * * * 7")), "Sunday is 0");
        check(quote!(schedule(every = "300")), "with its unit");
        check(quote!(schedule(every = "1h30")), "with its unit");
        check(
            quote!(schedule(every = "5m", crontab = "* * * * *")),
            "leave one of the two out",
        );
        check(quote!(schedule(evry = "5m")), "did you mean `every`?");
        check(quote!(schedule(every = "5m", missed = "some")), "skip");
        check(quote!(schedule(every = "5m", max_runs = 0)), "1 or more");
        check(quote!(schedule(every = "5m", timezone = "a b")), "IANA");
        check(
            quote!(schedule(every = "5m", start = "2026-11-26")),
            "RFC 3339",
        );
        check(quote!(schedule(crontab = "* * * * *", relative)), "`every`");
        check(
            quote!(schedule(solar("sunset", 46.2))),
            "latitude and longitude",
        );
        check(quote!(schedule(every = "5m", every = "6m")), "given twice");
    }

    #[test]
    fn every_listed_field_is_taken() {
        for name in NAMES.into_iter().filter(|name| !TIMES.contains(name)) {
            let key = Ident::new(name, Span::call_site());
            let field = match name {
                "args" => quote!(args(1, "x")),
                "kwargs" => quote!(kwargs(x = 1)),
                "relative" | "enabled" => quote!(#key),
                "priority" | "max_runs" | "max_missed" => quote!(#key = 7),
                "missed" => quote!(missed = "all"),
                "start" | "end" => quote!(#key = "2026-11-26T18:30:00+01:00"),
                "expires" | "jitter" | "deadline" => quote!(#key = "1h30m"),
                _ => quote!(#key = "Europe/Zurich"),
            };
            read(quote!(schedule(every = "5m", #field))).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        for time in [
            quote!(crontab = "30 2 * * mon-fri"),
            quote!(solar("sunset", 46.2, -6.14)),
            quote!(at = "2026-11-26T18:30:00Z"),
        ] {
            read(quote!(schedule(#time))).unwrap_or_else(|e| panic!("{time}: {e}"));
        }
    }
}
