//! Counts Kafka events exactly once into Redis, and delivers them: over HTTP, or to handlers in code.
//!
//! A Rust program uses [`handlers`], which keeps to semantic versioning. The other rooms are there for the binary and its
//! tests, and change as these need it.
//!
//! The map (each room imports only those to its right):
//!
//! ```text
//! main -> cli -> app -> { http, runtime } -> { core, log, store, config, telemetry } -> catalog -> model
//!    handlers -> app
//!               app -> registry -> core
//!                      { http, log, store, registry } -> tls
//! ```
//!
//! * [`model`]: plain values: partitions, checkpoints, deltas, sections.
//! * [`catalog`]: which topics and events there are, and what each does.
//! * [`core`]: what happens to an event, without IO, clock or randomness.
//! * [`log`]: the `Log` seam, Kafka behind it, record batches, and the embedded broker.
//! * [`store`]: the `Store` seam, Redis and an embedded file behind it.
//! * [`registry`]: what Confluent's serializers write, made JSON by the schemas of their registry.
//! * [`tls`]: certificates of the connections that we open.
//! * [`runtime`]: what drives the core: fetcher, decoding, partition tasks, flusher, publishing, delivering, reading.
//! * [`http`]: the API.
//! * [`config`]: from the environment and a file to a validated configuration.
//! * [`telemetry`]: log lines and metrics.
//! * [`handlers`]: events for async functions of the process that they run in.
//! * [`cli`]: one file or folder per command.
//! * [`app`]: the only place that chooses implementations and wires them.
//!
//! `ARCHITECTURE.md` has the journey of a record and the invariants by number.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod core;
pub mod handlers;
pub mod http;
pub mod log;
pub mod model;
pub mod registry;
pub mod runtime;
pub mod store;
pub mod telemetry;
pub mod tls;
