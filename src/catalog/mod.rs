//! Catalogues: which topics and event types exist, and what each event does.
//!
//! `file` is the TOML form as a user writes it, `lint` finds what is wrong with it, `compile` turns it into the [`plan`]
//! that the hot path runs without looking names up. The built-in catalogues lie beside this file as TOML.

pub mod plan;
