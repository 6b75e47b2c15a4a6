//! `Store` in Redis, through fred.
