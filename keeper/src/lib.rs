//! Keeps the database: records history, relays the outbox, copies dead letters, prunes.
