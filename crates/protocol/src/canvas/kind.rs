//! What a canvas takes and gives, as types, and which of them fit.

use std::marker::PhantomData;

use crate::ids::TaskId;

/// Takes nothing more: it has all its arguments.
#[derive(Debug)]
pub enum Complete {}

/// Takes what comes before and ignores it, or begins a workflow.
#[derive(Debug)]
pub enum Immutable {}

/// Takes its first argument, a `P`.
#[derive(Debug)]
pub struct First<P>(PhantomData<fn(P)>);

/// Takes its first argument, which may be anything.
#[derive(Debug)]
pub enum FirstOfAny {}

/// Takes what it takes: nobody knows here.
#[derive(Debug)]
pub enum Untyped {}

/// Takes what both take: two members of a group.
#[derive(Debug)]
pub struct Both<A, B>(PhantomData<fn(A, B)>);

/// Gives one result, a `T`.
#[derive(Debug)]
pub struct One<T>(PhantomData<fn() -> T>);

/// Gives the results of a group, each a `T`.
#[derive(Debug)]
pub struct Each<T>(PhantomData<fn() -> T>);

/// Gives one result of an unknown type.
#[derive(Debug)]
pub enum AnyOne {}

/// Gives the results of a group, of unknown types.
#[derive(Debug)]
pub enum AnyEach {}

/// Gives one result or those of a group: nobody knows here.
#[derive(Debug)]
pub enum Any {}

/// What may begin a workflow: it needs no result of a task before.
#[diagnostic::on_unimplemented(
    message = "this canvas cannot begin a workflow: its first argument is missing (it takes `{Self}`)",
    label = "nothing comes before it that would give its first argument",
    note = "give all arguments with `s(..)`, or let it follow another task: `chain![first::s(..), this]`"
)]
pub trait Starts {}

impl Starts for Complete {}
impl Starts for Immutable {}
impl Starts for Untyped {}
impl<A: Starts, B: Starts> Starts for Both<A, B> {}

/// What may come after something that gives `Gives`.
#[diagnostic::on_unimplemented(
    message = "this task has all its arguments and cannot take the result of the one before it",
    label = "`{Self}`: the result, `{Gives}`, would be one argument too many",
    note = "`partial(..)` leaves the first argument to the result; `si(..)` or `.immutable()` ignores the result"
)]
pub trait Follows<Gives> {}

impl<P, G: Feeds<P>> Follows<G> for First<P> {}
impl<G> Follows<G> for FirstOfAny {}
impl<G> Follows<G> for Immutable {}
impl<G> Follows<G> for Untyped {}
impl<G, A: Follows<G>, B: Follows<G>> Follows<G> for Both<A, B> {}

/// Results that a parameter of type `P` can be given.
///
/// `T` feeds `T` and `Option<T>`, a group of `T` feeds `Vec<T>`; numbers feed wider ones, as JSON has only one kind of them;
/// what is of an unknown type feeds everything, and the worker finds out.
#[diagnostic::on_unimplemented(
    message = "a task whose first parameter is `{P}` cannot follow one that gives `{Self}`",
    label = "takes `{P}`, and would be given `{Self}`",
    note = "`One<T>` is the result of one task, `Each<T>` are those of a group, which a task takes as `Vec<T>`; `.untyped()` on the step before leaves the check to the worker"
)]
pub trait Feeds<P> {}

impl<T> Feeds<T> for One<T> {}
impl<T> Feeds<Option<T>> for One<T> {}
impl<T> Feeds<Vec<T>> for Each<T> {}
impl<T> Feeds<Option<Vec<T>>> for Each<T> {}
impl<P> Feeds<P> for AnyOne {}
impl<P> Feeds<P> for AnyEach {}
impl<P> Feeds<P> for Any {}
impl Feeds<TaskId> for One<String> {}

macro_rules! widens {
    ($($from:ty => $($to:ty),+;)+) => {
        $($(
            impl Feeds<$to> for One<$from> {}
            impl Feeds<Vec<$to>> for Each<$from> {}
        )+)+
    };
}

widens! {
    i8 => i16, i32, i64, f32, f64;
    i16 => i32, i64, f32, f64;
    i32 => i64, f64;
    u8 => u16, u32, u64, i16, i32, i64, f32, f64;
    u16 => u32, u64, i32, i64, f32, f64;
    u32 => u64, i64, f64;
    f32 => f64;
}

/// What a member of a group adds to what the group gives.
pub trait Member {
    /// What a group gives that it is alone in.
    type Alone;
}

impl<T> Member for One<T> {
    type Alone = Each<T>;
}

macro_rules! members_of_any_type {
    ($($member:ty),+) => {
        $(
            impl Member for $member {
                type Alone = AnyEach;
            }
            impl<T> Beside<$member> for Each<T> {
                type Gives = AnyEach;
            }
        )+
    };
}

members_of_any_type!(AnyOne, AnyEach, Any);

impl<T> Member for Each<T> {
    type Alone = AnyEach;
}

/// A group that gives this, with a further member that gives `M`.
#[diagnostic::on_unimplemented(
    message = "the members of a group give results of one type, here `{Self}` and `{M}`",
    label = "gives `{M}`",
    note = "`.untyped()` on a member lets it give anything; the results are then read as `Value`"
)]
pub trait Beside<M> {
    /// What they give together.
    type Gives;
}

impl<T> Beside<One<T>> for Each<T> {
    type Gives = Each<T>;
}

impl<T, U> Beside<Each<U>> for Each<T> {
    type Gives = AnyEach;
}

impl<M: Member> Beside<M> for AnyEach {
    type Gives = AnyEach;
}

/// What gives one result, which a callback can be given.
#[diagnostic::on_unimplemented(
    message = "a group has no single result to call back with (it gives `{Self}`)",
    label = "link its members, or make it the header of a chord"
)]
pub trait Single {}

impl<T> Single for One<T> {}
impl Single for AnyOne {}
impl Single for Any {}
