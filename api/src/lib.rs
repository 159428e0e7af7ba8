//! The HTTP face: poem routes and their schema.
