//! The options about when a task may run: `unique` and what belongs to it, `debounce`, `limit`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::parse::ParseStream;
use syn::{Error, LitInt, LitStr, Result, Token};

/// The names of these options.
pub(crate) const NAMES: [&str; 7] = [
    "unique",
    "unique_until",
    "unique_for",
    "join",
    "debounce",
    "debounce_by",
    "limit",
];

/// They are read one by one and make sense together.
#[derive(Default)]
pub(crate) struct Admission {
    unique: Option<By>,
    until_start: bool,
    time: Option<LitInt>,
    join: bool,
    debounce: Option<LitInt>,
    debounce_by: Option<By>,
    limits: Vec<String>,
    /// An option that says nothing without `unique`, or without `debounce`.
    needs: Vec<(Span, &'static str)>,
}

enum By {
    All,
    Names(Vec<String>),
}

impl Admission {
    pub(crate) fn take(&mut self, key: &Ident, name: &str, input: ParseStream<'_>) -> Result<()> {
        match name {
            "unique" => {
                self.unique = Some(if input.peek(Token![=]) {
                    by(&text(input)?)?
                } else {
                    By::All
                });
            }
            "unique_until" => {
                let until = text(input)?;
                self.until_start = match until.value().as_str() {
                    "start" => true,
                    "end" => false,
                    _ => {
                        return Err(Error::new(
                            until.span(),
                            "a task is unique until its \"start\" or its \"end\"",
                        ));
                    }
                };
                self.needs.push((key.span(), "unique"));
            }
            "unique_for" => {
                self.time = Some(seconds(input)?);
                self.needs.push((key.span(), "unique"));
            }
            "join" => {
                self.join = true;
                self.needs.push((key.span(), "unique"));
            }
            "debounce" => self.debounce = Some(seconds(input)?),
            "debounce_by" => {
                self.debounce_by = Some(by(&text(input)?)?);
                self.needs.push((key.span(), "debounce"));
            }
            _ => {
                let limits = text(input)?;
                for limit in limits.value().split(';') {
                    let limit = limit.trim();
                    if !is_limit(limit) {
                        let message = format!(
                            "`{limit}` is no limit: write \"5\", \"100/m\", \"5 per queue\" or \"5 per account\", several \
                             with `;` between them"
                        );
                        return Err(Error::new(limits.span(), message));
                    }
                    self.limits.push(limit.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The calls on a `TaskSpec` that record them.
    pub(crate) fn recorded(&self) -> Result<Vec<TokenStream>> {
        for (span, needed) in &self.needs {
            let there = match *needed {
                "unique" => self.unique.is_some(),
                _ => self.debounce.is_some(),
            };
            if !there {
                let message =
                    format!("this option says something about `{needed}`, which is not given");
                return Err(Error::new(*span, message));
            }
        }
        let mut calls = Vec::new();
        if let Some(by) = &self.unique {
            let unique = match by {
                By::All => quote!(::lovage::__macro::Unique::by_all()),
                By::Names(names) => quote!(::lovage::__macro::Unique::by([#(#names),*])),
            };
            let start = self.until_start.then(|| quote!(.until_start()));
            let time = self
                .time
                .as_ref()
                .map(|seconds| quote!(.for_time(::core::time::Duration::from_secs(#seconds))));
            let join = self.join.then(|| quote!(.join()));
            calls.push(quote!(.with_unique(#unique #start #time #join)));
        }
        if let Some(seconds) = &self.debounce {
            let by = match &self.debounce_by {
                None | Some(By::All) => quote!(::lovage::__macro::By::All),
                Some(By::Names(names)) => {
                    quote!(::lovage::__macro::By::Names(
                        ::std::vec![#(#names.to_owned()),*]
                    ))
                }
            };
            calls.push(quote! {
                .with_debounce(::lovage::__macro::Debounce {
                    by: #by,
                    window: ::core::time::Duration::from_secs(#seconds),
                })
            });
        }
        for limit in &self.limits {
            calls.push(quote! {
                .with_limit(::lovage::__macro::Limit::parse(#limit).expect("the macro has read it"))
            });
        }
        Ok(calls)
    }
}

fn text(input: ParseStream<'_>) -> Result<LitStr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn seconds(input: ParseStream<'_>) -> Result<LitInt> {
    input.parse::<Token![=]>()?;
    let seconds: LitInt = input.parse()?;
    match seconds.base10_parse::<u64>() {
        Ok(number) if number > 0 => Ok(seconds),
        _ => Err(Error::new(
            seconds.span(),
            "expected a whole number of seconds above 0",
        )),
    }
}

fn by(names: &LitStr) -> Result<By> {
    let text = names.value();
    let list: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if list.iter().all(|name| is_name(name)) {
        return Ok(By::Names(list));
    }
    Err(Error::new(
        names.span(),
        format!("`{text}` names no parameters: write \"account\" or \"account, day\""),
    ))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|character| character.is_alphanumeric() || character == '_')
}

/// The rule of `lovage_registry::Limit::parse`, which the run-time part relies on.
fn is_limit(text: &str) -> bool {
    let (amount, names) = match text.split_once(" per ") {
        None => (text, None),
        Some((amount, names)) => (amount.trim(), Some(names)),
    };
    let most = match amount.split_once('/') {
        None => amount,
        Some((most, "s" | "m" | "h")) => most,
        Some(_) => return false,
    };
    most.parse::<u32>().is_ok_and(|most| most > 0)
        && names.is_none_or(|names| names.split(',').all(|name| is_name(name.trim())))
}

#[cfg(test)]
mod tests {
    use super::is_limit;

    #[test]
    fn limits_are_read_as_at_run_time() {
        for text in ["5", "100/m", "5 per queue", "2/s per a, b"] {
            assert!(is_limit(text), "{text}");
        }
        for text in [
            "",
            "0",
            "x",
            "5/d",
            "5 per",
            "5 per ",
            "5 per a,,b",
            "5 per a b",
        ] {
            assert!(!is_limit(text), "{text}");
        }
    }
}
