//! `Store` in a file, through redb.
