//! Canvases that Rust sends: the same messages as Python's, and the same results from workers of either kind and of both.

mod fleets;
mod messages;
mod python_results;
