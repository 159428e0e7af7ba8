//! The task as a part of canvases: `add::s(2, 3)`, `add::partial(3)` and their like, each with the types of its parameters.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Ident;

use crate::function::{Kind, Parameter, last_segment};
use crate::rescope::one_module_down;

/// The most arguments that serde writes as one tuple.
const WIDEST_TUPLE: usize = 16;

/// Writes the inherent functions of a task's type.
pub(crate) struct Calls<'a> {
    pub(crate) task: &'a Ident,
    pub(crate) visibility: TokenStream,
    pub(crate) parameters: &'a [Parameter],
}

impl Calls<'_> {
    fn arguments(&self) -> Vec<&Parameter> {
        let is_argument = |parameter: &&Parameter| matches!(parameter.kind, Kind::Argument { .. });
        self.parameters.iter().filter(is_argument).collect()
    }
}

fn declared(parameters: &[&Parameter]) -> TokenStream {
    let each = parameters.iter().map(|Parameter { ident, ty, .. }| {
        let ty = one_module_down(ty.to_token_stream());
        quote!(#ident: #ty)
    });
    quote!(#(#each),*)
}

fn given(parameters: &[&Parameter]) -> TokenStream {
    let each = parameters.iter().map(|parameter| &parameter.ident);
    quote!(::lovage::__macro::Call::of(<Self as ::celery::task::Task>::NAME) #(.arg(&#each))*)
}

/// A parameter of the type that is any value takes every result.
fn takes(first: &Parameter) -> TokenStream {
    if last_segment(&first.ty).is_some_and(|segment| segment.ident == "Value") {
        return quote!(::lovage::__macro::FirstOfAny);
    }
    let ty = one_module_down(first.ty.to_token_stream());
    quote!(::lovage::__macro::First<#ty>)
}

fn can_be_left_out(parameter: &Parameter) -> bool {
    match &parameter.kind {
        Kind::Argument {
            default, optional, ..
        } => default.is_some() || *optional,
        _ => true,
    }
}

impl ToTokens for Calls<'_> {
    fn to_tokens(&self, out: &mut TokenStream) {
        let Self {
            task, visibility, ..
        } = self;
        let arguments = self.arguments();
        let canvas = |takes: TokenStream, gives: TokenStream| quote!(::lovage::__macro::Canvas<#takes, #gives>);
        let returns = quote!(<Self as ::celery::task::Task>::Returns);
        let one = quote!(::lovage::__macro::One<#returns>);
        let (all, call) = (declared(&arguments), given(&arguments));
        let complete = canvas(quote!(::lovage::__macro::Complete), one.clone());
        let immutable = canvas(quote!(::lovage::__macro::Immutable), one.clone());
        let mut functions = quote! {
            /// A call with these arguments, to be sent or made part of a canvas: Celery's `.s(…)`.
            #visibility fn s(#all) -> #complete { #call.canvas() }

            /// The same, which ignores the result of what it follows: Celery's `.si(…)`.
            #visibility fn si(#all) -> #immutable { #call.immutable() }
        };
        if let Some((first, rest)) = arguments.split_first() {
            let (params, call) = (declared(rest), given(rest));
            let partial = canvas(takes(first), one);
            functions.extend(quote! {
                /// A call whose first argument is the result of what it follows: Celery's `.s(…)` without the first one.
                #visibility fn partial(#params) -> #partial { #call.canvas() }
            });
        }
        functions.extend(self.over_items(&arguments, &returns));
        out.extend(quote! {
            impl #task { #functions }
        });
    }
}

impl Calls<'_> {
    /// `map`, `starmap` and `chunks`.
    fn over_items(&self, arguments: &[&Parameter], returns: &TokenStream) -> TokenStream {
        let visibility = &self.visibility;
        let Some((first, rest)) = arguments.split_first() else {
            return TokenStream::new();
        };
        let list = quote!(::std::vec::Vec<#returns>);
        let in_one = quote!(::lovage::__macro::Canvas<::lovage::__macro::Immutable, ::lovage::__macro::One<#list>>);
        let in_pieces = quote!(::lovage::__macro::Canvas<::lovage::__macro::Immutable, ::lovage::__macro::Each<#list>>);
        let call = given(&[]);
        let mut functions = TokenStream::new();
        if rest.iter().all(|parameter| can_be_left_out(parameter)) {
            let item = one_module_down(first.ty.to_token_stream());
            functions.extend(quote! {
                /// One run for each item, one after the other in one task: Celery's `.map(it)`.
                #visibility fn map(items: impl ::core::iter::IntoIterator<Item = #item>) -> #in_one {
                    #call.mapped("celery.map", items)
                }
            });
        }
        if arguments.len() <= WIDEST_TUPLE {
            let types = arguments
                .iter()
                .map(|parameter| one_module_down(parameter.ty.to_token_stream()));
            let item = quote!((#(#types,)*));
            functions.extend(quote! {
                /// As `map`, each item all arguments of a run: Celery's `.starmap(it)`.
                #visibility fn starmap(items: impl ::core::iter::IntoIterator<Item = #item>) -> #in_one {
                    #call.mapped("celery.starmap", items)
                }

                /// As `starmap`, `size` items to a task: Celery's `.chunks(it, n).group()`.
                #visibility fn chunks(
                    items: impl ::core::iter::IntoIterator<Item = #item>,
                    size: usize,
                ) -> #in_pieces {
                    #call.chunked(items, size)
                }
            });
        }
        functions
    }
}
