//! YAML as kombu writes and reads it: PyYAML's `safe_dump` and `safe_load` (kombu/serialization.py, yaml/resolver.py).
//!
//! PyYAML knows YAML 1.1: `yes` is true, `0777` octal, `1:30` ninety, `2024-02-29` a date. The grammar is read by
//! `saphyr-parser`, an event parser; what a scalar means and what may stand for what is decided here.

mod reader;
mod scalar;
mod timestamp;
mod writer;

pub(crate) use reader::read;
pub(crate) use writer::write;
