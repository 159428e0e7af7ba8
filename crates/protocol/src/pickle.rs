//! Python's pickle, read as data and never as a program.
//!
//! A pickle is a list of instructions for a machine that can import and call anything: unpickling a stranger's bytes is
//! running a stranger's code. This reader follows the instructions (protocols 0 to 5, Lib/pickle.py) only as far as they
//! build plain data. The few classes that plain data needs are known by name and made here ([`class`]); any other name is
//! refused where it is named, and no attribute, state, registered extension or persistent object is ever looked up.
//!
//! Tuples, sets and deques become lists, bytearrays bytes, a `timedelta` its seconds and a lone time zone its name.

mod class;
mod decimal;
mod instruction;
mod machine;
mod moment;
mod text;

pub(crate) use machine::read;
