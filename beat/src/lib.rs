//! Decides what is due and sends it, from one leader at a time.
