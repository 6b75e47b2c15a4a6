//! `Log` on rskafka.
