//! What a task function may look like, and its parameters.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit_mut::VisitMut as _;
use syn::{Attribute, Error, Expr, FnArg, ItemFn, Lit, Meta, Pat, Result, ReturnType, Type};

use crate::rescope::NameSelf;

/// A task function, with what the attribute added taken out again.
pub(crate) struct Function {
    /// The function as it stays in the user's module.
    pub(crate) item: ItemFn,
    pub(crate) doc: Option<String>,
    pub(crate) parameters: Vec<Parameter>,
    /// `None` for a function that returns nothing.
    pub(crate) returns: Option<Type>,
}

/// One parameter of a task function.
pub(crate) struct Parameter {
    /// The name as a local variable of the expansion: it cannot clash with those of rusty-celery's macro, whose own
    /// `params` would otherwise be shadowed by a parameter of that name.
    pub(crate) ident: Ident,
    /// The name that callers use.
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) kind: Kind,
}

/// Where a parameter's value comes from.
pub(crate) enum Kind {
    /// The running task, first parameter of a bound function.
    Task,
    /// The worker's state of this type.
    State(Box<Type>),
    /// The message.
    Argument {
        default: Option<Box<Expr>>,
        doc: Option<String>,
        optional: bool,
    },
}

impl Function {
    /// Reads a function; `task` is the type that will stand for it.
    pub(crate) fn read(mut item: ItemFn, bind: bool, task: &Ident) -> Result<Self> {
        refuse_shapes(&item)?;
        if bind {
            NameSelf(task).visit_signature_mut(&mut item.sig);
            NameSelf(task).visit_block_mut(&mut item.block);
        }
        let mut parameters = Vec::new();
        let mut faults: Option<Error> = None;
        for (position, input) in item.sig.inputs.iter_mut().enumerate() {
            match Parameter::read(input, bind && position == 0) {
                Ok(parameter) => parameters.push(parameter),
                Err(fault) => match &mut faults {
                    Some(first) => first.combine(fault),
                    None => faults = Some(fault),
                },
            }
        }
        if let Some(faults) = faults {
            return Err(faults);
        }
        if bind && parameters.is_empty() {
            return Err(Error::new(
                item.sig.paren_token.span.join(),
                "a bound task's first parameter is the running task: `task: &Self`",
            ));
        }
        let returns = match &item.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) if matches!(&**ty, Type::Tuple(unit) if unit.elems.is_empty()) => {
                None
            }
            ReturnType::Type(_, ty) => Some(returned(ty)?),
        };
        Ok(Self {
            doc: doc_text(&item.attrs),
            parameters,
            returns,
            item,
        })
    }

    pub(crate) fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some()
    }
}

fn refuse_shapes(item: &ItemFn) -> Result<()> {
    let signature = &item.sig;
    let fault = |span: Span, message: &str| Err(Error::new(span, message));
    if let Some(receiver) = signature.receiver() {
        return fault(
            receiver.span(),
            "a task is a free function; for the running task use `bind = true` and a first parameter `task: &Self`",
        );
    }
    if !signature.generics.params.is_empty() {
        return fault(
            signature.generics.span(),
            "a task cannot be generic: its name stands for one set of parameter types",
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        return fault(
            clause.span(),
            "a task cannot be generic, so a `where` clause says nothing",
        );
    }
    if let Some(word) = &signature.constness {
        return fault(word.span(), "a task cannot be a `const fn`");
    }
    if let Some(word) = &signature.unsafety {
        return fault(
            word.span(),
            "a task cannot be an `unsafe fn`: a message would call it",
        );
    }
    if let Some(abi) = &signature.abi {
        return fault(abi.span(), "a task has Rust's own ABI");
    }
    if let Some(dots) = &signature.variadic {
        return fault(
            dots.span(),
            "a task names its parameters; for any arguments at all register a raw handler",
        );
    }
    Ok(())
}

fn returned(ty: &Type) -> Result<Type> {
    match ty {
        Type::ImplTrait(_) => Err(Error::new(
            ty.span(),
            "a task returns a `Result` of named types, not `impl Trait`",
        )),
        Type::Reference(_) => Err(Error::new(ty.span(), "a task returns an owned `Result`")),
        _ => Ok(ty.clone()),
    }
}

impl Parameter {
    fn read(input: &mut FnArg, is_task: bool) -> Result<Self> {
        let FnArg::Typed(input) = input else {
            return Err(Error::new(
                input.span(),
                "a task is a free function without `self`",
            ));
        };
        let Pat::Ident(pattern) = &*input.pat else {
            return Err(Error::new(
                input.pat.span(),
                "a task's parameter is a plain name, since callers pass it by that name; take it apart in the body",
            ));
        };
        if pattern.by_ref.is_some() || pattern.subpat.is_some() {
            return Err(Error::new(
                input.pat.span(),
                "a task's parameter is a plain name",
            ));
        }
        let name = pattern.ident.unraw().to_string();
        let mut ident = pattern.ident.clone();
        ident.set_span(Span::mixed_site().located_at(ident.span()));
        let (default, doc) = take_attributes(&mut input.attrs)?;
        let ty = (*input.ty).clone();
        let kind = if is_task {
            require_task(&ty)?;
            Kind::Task
        } else if let Some(state) = state_type(&ty)? {
            Kind::State(Box::new(state))
        } else {
            require_owned(&ty)?;
            let optional = last_segment(&ty).is_some_and(|segment| segment.ident == "Option");
            Kind::Argument {
                default,
                doc,
                optional,
            }
        };
        Ok(Self {
            ident,
            name,
            ty,
            kind,
        })
    }
}

fn require_task(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => Ok(()),
        _ => Err(Error::new(
            ty.span(),
            "a bound task's first parameter is the running task: `task: &Self`",
        )),
    }
}

fn require_owned(ty: &Type) -> Result<()> {
    let owned = match ty {
        Type::ImplTrait(_) => {
            return Err(Error::new(
                ty.span(),
                "a task cannot be generic: its name stands for one set of parameter types",
            ));
        }
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => "`String`",
            Type::Slice(_) => "a `Vec`",
            _ => "an owned value",
        },
        _ => return Ok(()),
    };
    Err(Error::new(
        ty.span(),
        format!("a task's arguments come out of a message, so they are owned: use {owned}"),
    ))
}

pub(crate) fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

/// `T` of a parameter type `State<T>`, however the path to `State` is written.
fn state_type(ty: &Type) -> Result<Option<Type>> {
    let Some(segment) = last_segment(ty).filter(|segment| segment.ident == "State") else {
        return Ok(None);
    };
    if let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments
        && let Some(syn::GenericArgument::Type(inner)) = arguments.args.first()
        && arguments.args.len() == 1
    {
        return Ok(Some(inner.clone()));
    }
    Err(Error::new(
        ty.span(),
        "write which state the task needs, as in `State<Mailer>`",
    ))
}

/// Removes `#[default ...]` and doc comments, which Rust itself does not allow on parameters.
fn take_attributes(attrs: &mut Vec<Attribute>) -> Result<(Option<Box<Expr>>, Option<String>)> {
    let doc = doc_text(attrs);
    let mut default = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("default")) {
        let expr = match &attr.meta {
            Meta::NameValue(pair) => pair.value.clone(),
            Meta::List(list) => list.parse_args()?,
            Meta::Path(path) => {
                return Err(Error::new(
                    path.span(),
                    "write the default: `#[default = 5]`",
                ));
            }
        };
        if default.replace(Box::new(expr)).is_some() {
            return Err(Error::new(attr.span(), "a parameter has one default"));
        }
    }
    attrs.retain(|attr| !attr.path().is_ident("default") && !attr.path().is_ident("doc"));
    Ok((default, doc))
}

/// The text of doc comments, without the space that follows `///`.
fn doc_text(attrs: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("doc"))
        .filter_map(|attr| match &attr.meta {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
        .flat_map(|text| {
            // `lines` would lose the empty comment line that separates paragraphs.
            text.split('\n')
                .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}
