//! How paths change when tokens move: one module down, or out of an `impl`.

use proc_macro2::{Group, Ident, Spacing, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::visit_mut::{self, VisitMut};

/// Rewrites `super::x` to `super::super::x` and `self::x` to `super::x`.
///
/// The expansion repeats the function's types one module further down; names in scope arrive there through
/// `use super::*`, but these two words mean another module there.
pub(crate) fn one_module_down(tokens: TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut before = Before::Anything;
    while let Some(token) = tokens.next() {
        let starts_path = before != Before::Separator;
        before = before.after(&token);
        match token {
            TokenTree::Group(group) => {
                out.extend([regroup(&group, one_module_down(group.stream()))]);
            }
            TokenTree::Ident(word) if starts_path && word == "super" => {
                out.extend(quote_spanned!(word.span()=> super::super));
            }
            // `self` alone is a value; only `self::` is a module.
            TokenTree::Ident(word)
                if starts_path && word == "self" && tokens.peek().is_some_and(is_first_colon) =>
            {
                out.extend(quote_spanned!(word.span()=> super));
            }
            other => out.extend([other]),
        }
    }
    out
}

/// What stood before a token, as far as it matters for the start of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Anything,
    FirstColon,
    Separator,
}

impl Before {
    fn after(self, token: &TokenTree) -> Self {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => match self {
                Self::FirstColon => Self::Separator,
                _ if is_first_colon(token) => Self::FirstColon,
                _ => Self::Anything,
            },
            _ => Self::Anything,
        }
    }
}

fn is_first_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct)
        if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
}

fn regroup(group: &Group, stream: TokenStream) -> TokenTree {
    let mut new = Group::new(group.delimiter(), stream);
    new.set_span(group.span());
    TokenTree::Group(new)
}

/// Replaces `Self` by the task's type throughout a bound function, which stands outside any `impl`.
///
/// Items nested in the body keep their own `Self`.
pub(crate) struct NameSelf<'a>(pub(crate) &'a Ident);

impl NameSelf<'_> {
    fn in_tokens(&self, tokens: TokenStream) -> TokenStream {
        tokens
            .into_iter()
            .map(|token| match token {
                TokenTree::Ident(word) if word == "Self" => {
                    let mut name = self.0.clone();
                    name.set_span(word.span());
                    TokenTree::Ident(name)
                }
                TokenTree::Group(group) => regroup(&group, self.in_tokens(group.stream())),
                other => other,
            })
            .collect()
    }
}

impl VisitMut for NameSelf<'_> {
    fn visit_ident_mut(&mut self, ident: &mut Ident) {
        if ident == "Self" {
            let span = ident.span();
            ident.clone_from(self.0);
            ident.set_span(span);
        }
    }

    fn visit_item_mut(&mut self, _: &mut syn::Item) {}

    fn visit_macro_mut(&mut self, call: &mut syn::Macro) {
        call.tokens = self.in_tokens(std::mem::take(&mut call.tokens));
        visit_mut::visit_macro_mut(self, call);
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    #[test]
    fn paths_keep_their_meaning_one_module_down() {
        let check = |before: TokenStream, after: TokenStream| {
            assert_eq!(one_module_down(before).to_string(), after.to_string());
        };
        check(quote!(super::Thing), quote!(super::super::Thing));
        check(
            quote!(super::super::Thing),
            quote!(super::super::super::Thing),
        );
        check(quote!(Vec<self::Thing>), quote!(Vec<super::Thing>));
        check(quote!(x: super::T), quote!(x: super::super::T));
        check(
            quote!([super::T; super::N]),
            quote!([super::super::T; super::super::N]),
        );
        check(quote!(crate::T), quote!(crate::T));
        check(quote!(::std::string::String), quote!(::std::string::String));
        check(quote!(self.field), quote!(self.field));
    }

    #[test]
    fn self_is_named_but_not_inside_nested_items() {
        let mut function: syn::ItemFn = parse_quote! {
            fn add(task: &Self) {
                struct Local;
                impl Local { fn new() -> Self { Self } }
                Self::helper();
                println!("{}", Self::NAME);
            }
        };
        NameSelf(&parse_quote!(add)).visit_item_fn_mut(&mut function);
        let expected: syn::ItemFn = parse_quote! {
            fn add(task: &add) {
                struct Local;
                impl Local { fn new() -> Self { Self } }
                add::helper();
                println!("{}", add::NAME);
            }
        };
        assert_eq!(quote!(#function).to_string(), quote!(#expected).to_string());
    }
}
