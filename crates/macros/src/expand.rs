//! The code that is generated.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Expr, ItemFn, Lit, LitStr, Result, Visibility};

use crate::calls::Calls;
use crate::function::{Function, Kind, Parameter};
use crate::options::Options;
use crate::rescope::one_module_down;

/// Expands `#[lovage::task(options)] function`.
pub(crate) fn task(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let item: ItemFn = syn::parse2(function)?;
    let task = options
        .wrapper
        .clone()
        .unwrap_or_else(|| item.sig.ident.clone());
    if task.unraw() != task {
        // rusty-celery's macro builds other names from this one and stops on `r#`.
        return Err(syn::Error::new(
            task.span(),
            "a keyword cannot name a task's type: rename the function and give `name = \"...\"`",
        ));
    }
    let function = Function::read(item, options.bind, &task)?;
    let mut expansion = Expansion {
        options,
        function,
        task,
        schedules: Vec::new(),
    };
    let (name, parameters) = (expansion.task_name(), &expansion.function.parameters);
    let schedules = expansion.options.schedules.iter();
    expansion.schedules = schedules
        .map(|schedule| schedule.recorded(&name, parameters))
        .collect::<Result<_>>()?;
    Ok(expansion.into_token_stream())
}

struct Expansion {
    options: Options,
    function: Function,
    /// The type that stands for the task.
    task: Ident,
    /// Calls on a `TaskSpec` that record when beat sends it.
    schedules: Vec<TokenStream>,
}

impl Expansion {
    fn task_name(&self) -> LitStr {
        let ident = &self.function.item.sig.ident;
        self.options
            .name
            .clone()
            .unwrap_or_else(|| LitStr::new(&ident.unraw().to_string(), ident.span()))
    }

    /// The function for rusty-celery's macro: it takes the arguments, gets the state and calls the user's function.
    fn celery_task(&self) -> TokenStream {
        let name = self.task_name();
        let visibility = inner_visibility(&self.function.item.vis);
        let Self { options, task, .. } = self;
        let celery = self.celery_options(&name);
        let asyncness = &self.function.item.sig.asyncness;
        let bound = options.bind.then(|| {
            let running = running_task();
            quote!(#running: &Self,)
        });
        let arguments = self.function.parameters.iter().filter_map(|parameter| {
            let Kind::Argument { .. } = parameter.kind else {
                return None;
            };
            let (ident, ty) = (
                &parameter.ident,
                one_module_down(parameter.ty.to_token_stream()),
            );
            Some(quote!(#ident: #ty))
        });
        let (returns, body) = (self.celery_returns(), self.celery_body());
        quote! {
            #[::celery::task(#celery)]
            #visibility #asyncness fn #task(#bound #(#arguments),*) -> #returns { #body }
        }
    }

    fn celery_options(&self, name: &LitStr) -> TokenStream {
        let Options {
            bind,
            params_type,
            passed_on,
            ..
        } = &self.options;
        let params_type = params_type
            .as_ref()
            .map(|ident| quote!(, params_type = #ident));
        quote!(name = #name, bind = #bind #params_type #(, #passed_on)*)
    }

    fn celery_returns(&self) -> TokenStream {
        match &self.function.returns {
            None => quote!(::celery::task::TaskResult<()>),
            Some(ty) => {
                let ty = one_module_down(ty.to_token_stream());
                quote_spanned! {ty.span()=>
                    ::celery::task::TaskResult<<#ty as ::lovage::__macro::TaskReturn>::Value>
                }
            }
        }
    }

    fn celery_body(&self) -> TokenStream {
        let function = &self.function.item.sig.ident;
        let values =
            self.function
                .parameters
                .iter()
                .map(|Parameter { ident, kind, .. }| match kind {
                    Kind::Task => running_task().into_token_stream(),
                    Kind::Argument { .. } => ident.to_token_stream(),
                    Kind::State(ty) => {
                        let ty = one_module_down(ty.to_token_stream());
                        quote!(::lovage::__macro::state::<#ty>())
                    }
                });
        let waited = self.function.is_async().then(|| quote!(.await));
        let call = quote!(super::#function(#(#values),*) #waited);
        if self.function.returns.is_none() {
            return quote! {
                #call;
                ::core::result::Result::Ok(())
            };
        }
        // The two traits offer one method for errors that convert and one for those that can only be displayed; which
        // is meant is decided by the type, here where it is known.
        quote! {
            match ::lovage::__macro::TaskReturn::into_result(#call) {
                ::core::result::Result::Ok(value) => ::core::result::Result::Ok(value),
                ::core::result::Result::Err(error) => {
                    use ::lovage::__macro::{ConvertedError as _, DisplayedError as _};
                    ::core::result::Result::Err((&error).lovage_error_kind().task_error(error))
                }
            }
        }
    }

    fn described(&self) -> TokenStream {
        let task = &self.task;
        let is_async = self.function.is_async();
        let doc = self
            .function
            .doc
            .as_ref()
            .map(|text| quote!(.with_doc(#text)));
        let parts = self.function.parameters.iter().map(described_parameter);
        let recorded = self.options.recorded.iter().chain(&self.schedules);
        let returns = schema(&quote!(<Self as ::celery::task::Task>::Returns));
        quote! {
            impl ::lovage::__macro::Described for #task {
                fn spec() -> ::lovage::__macro::TaskSpec {
                    use ::lovage::__macro::{AnySchema as _, KnownSchema as _};
                    ::lovage::__macro::TaskSpec::typed::<Self>(#is_async)
                        .with_returns(#returns)
                        #doc
                        #(#parts)*
                        #(#recorded)*
                }
            }
        }
    }
}

impl ToTokens for Expansion {
    fn to_tokens(&self, out: &mut TokenStream) {
        let Self {
            options,
            task,
            function,
            ..
        } = self;
        let item = &function.item;
        let visibility = &item.vis;
        let module = format_ident!("__lovage_{}", task, span = Span::call_site());
        let celery_task = self.celery_task();
        let described = self.described();
        let calls = Calls {
            task,
            visibility: inner_visibility(visibility),
            parameters: &function.parameters,
        };
        // Given a name of its own, the arguments' type is meant to be used, though not everywhere.
        let params_type = options.params_type.as_ref().map(|ident| {
            quote! {
                #[doc(hidden)]
                #[allow(unused_imports, reason = "only some callers build the arguments themselves")]
                #visibility use #module::#ident;
            }
        });
        let type_doc = format!(
            "The task `{}`, to be registered and sent.",
            self.task_name().value()
        );
        out.extend(quote! {
            #[allow(
                clippy::missing_errors_doc,
                clippy::needless_pass_by_value,
                clippy::unnecessary_wraps,
                clippy::unused_async,
                reason = "a task owns its arguments and returns a Result; async says where it runs"
            )]
            #item

            #[doc(hidden)]
            #[allow(
                clippy::all,
                clippy::pedantic,
                dead_code,
                deprecated,
                missing_debug_implementations,
                missing_docs,
                non_camel_case_types,
                non_local_definitions,
                private_interfaces,
                unreachable_pub,
                unused_braces,
                unused_imports,
                unused_qualifications,
                reason = "written by rusty-celery's macro, which drops attributes on the function"
            )]
            mod #module {
                use super::*;
                #celery_task
                #described
                #calls
            }

            #[doc = #type_doc]
            #visibility use #module::#task;
            #params_type
        });
    }
}

fn running_task() -> Ident {
    Ident::new("running_task", Span::mixed_site())
}

/// What the user's module may see, said from one module further down.
fn inner_visibility(visibility: &Visibility) -> TokenStream {
    match visibility {
        Visibility::Inherited => quote!(pub(super)),
        Visibility::Public(_) => quote!(pub),
        Visibility::Restricted(limit) if limit.path.is_ident("crate") => quote!(pub(crate)),
        Visibility::Restricted(limit) if limit.path.is_ident("self") => quote!(pub(super)),
        Visibility::Restricted(limit) => {
            let path = one_module_down(limit.path.to_token_stream());
            quote!(pub(in #path))
        }
    }
}

fn schema(ty: &TokenStream) -> TokenStream {
    quote!((&::lovage::__macro::SchemaOf::<#ty>::new()).lovage_schema())
}

fn described_parameter(parameter: &Parameter) -> TokenStream {
    let Parameter { name, ty, kind, .. } = parameter;
    match kind {
        Kind::Task => TokenStream::new(),
        Kind::State(ty) => {
            let ty = one_module_down(ty.to_token_stream());
            quote!(.with_state(::lovage::__macro::StateNeed::of::<#ty>()))
        }
        Kind::Argument {
            default,
            doc,
            optional,
        } => {
            let ty = one_module_down(ty.to_token_stream());
            let schema = schema(&ty);
            let doc = doc.as_ref().map(|text| quote!(.with_doc(#text)));
            let optional = optional.then(|| quote!(.optional()));
            let default = default.as_ref().map(|expr| {
                let value = default_value(expr);
                quote!(.with_default({ let value: #ty = #value; value }))
            });
            quote!(.with_param(::lovage::__macro::Param::new(#name, #schema) #doc #optional #default))
        }
    }
}

/// A default as written; a string literal becomes whatever text type the parameter has.
pub(crate) fn default_value(expr: &Expr) -> TokenStream {
    let tokens = one_module_down(expr.to_token_stream());
    match expr {
        Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)) => {
            quote!(::core::convert::From::from(#tokens))
        }
        _ => tokens,
    }
}
