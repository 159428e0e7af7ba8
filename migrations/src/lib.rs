//! The database schema's history, forward and back.
