//! SeaORM entities, and the only queries anyone may run.
