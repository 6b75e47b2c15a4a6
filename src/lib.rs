//! Counts Kafka events exactly once into Redis.
//!
//! The map (each room imports only those to its right):
//!
//! ```text
//! main -> cli -> app -> { http, runtime } -> { core, log, store, config, telemetry } -> catalog -> model
//!                      { http, log, store } -> tls
//! ```
//!
//! * [`model`]: plain values: partitions, checkpoints, deltas, sections.
//! * [`catalog`]: which topics and events there are, and what each does.
//! * [`core`]: what happens to an event, without IO, clock or randomness.
//! * [`log`]: the `Log` seam, Kafka behind it, record batches, and the embedded broker.
//! * [`store`]: the `Store` seam, Redis and an embedded file behind it.
//! * [`tls`]: certificates of the connections that we open.
//! * [`runtime`]: what drives the core: fetcher, decoding, partition tasks, flusher, publishing, reading.
//! * [`http`]: the API.
//! * [`config`]: from the environment and a file to a validated configuration.
//! * [`telemetry`]: log lines and metrics.
//! * [`cli`]: one file or folder per command.
//! * [`app`]: the only place that chooses implementations and wires them.
//!
//! `ARCHITECTURE.md` has the journey of a record and the invariants by number.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod core;
pub mod http;
pub mod log;
pub mod model;
pub mod runtime;
pub mod store;
pub mod telemetry;
pub mod tls;
