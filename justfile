# What can be done here. `just` alone lists it; the README's test command is `just test`.

set shell := ["bash", "-euo", "pipefail", "-c"]

musl_target := "x86_64-unknown-linux-musl"
optimised := "CARGO_PROFILE_DEV_OPT_LEVEL=2"

# List the recipes
default:
    @just --list

# Run with what the environment says
run *ARGS:
    cargo run --release -- {{ARGS}}

# See it work with nothing installed: embedded log and store, generated traffic
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Everything: form, lints, hermetic tests, the simulation, then the tests against a real Kafka and Redis
test: fmt-check lint unit simulation integration

# The tests that need no server
unit:
    cargo test --locked

# 10,000 seeds of the simulation, with our own crate optimised: built once more for it, which `just soak` shares
simulation:
    SEEDS=10000 FROM=0 {{optimised}} cargo test --locked --test simulation every_seed -- --nocapture

# The tests against a real Kafka and Redis, which are brought up for it and taken down after, also on failure
integration *ARGS:
    integration/services run cargo test --locked --test integration -- --test-threads=1 {{ARGS}}

# The storm at its full length and rate, optimised: 60 s of 20,000 events a second, twice, and handover; prints its figures
storm *ARGS:
    STREAMGAUGE_STORM_SECONDS="${STREAMGAUGE_STORM_SECONDS:-60}" STREAMGAUGE_STORM_EVENTS_PER_SECOND="${STREAMGAUGE_STORM_EVENTS_PER_SECOND:-20000}" integration/services run cargo test --release --locked --test integration -- --test-threads=1 --nocapture storm:: {{ARGS}}

# 100,000 events to a service that fails, hangs and goes away, by members that are killed, optimised; prints what came twice
delivery *ARGS:
    STREAMGAUGE_DELIVERY_EVENTS="${STREAMGAUGE_DELIVERY_EVENTS:-100000}" integration/services run cargo test --release --locked --test integration -- --test-threads=1 --nocapture delivery:: {{ARGS}}

# schemathesis against the API, with more requests of each operation than amid the other tests; prints what it did
openapi *ARGS:
    STREAMGAUGE_OPENAPI_EXAMPLES="${STREAMGAUGE_OPENAPI_EXAMPLES:-300}" integration/services run cargo test --locked --test integration -- --test-threads=1 --nocapture openapi:: {{ARGS}}

# The simulation over many seeds on all cores, optimised: COUNT of them from FROM on, for SECONDS_AT_MOST (of the environment) at most, a night by default
soak COUNT="1000000000" FROM="10000":
    SEEDS={{COUNT}} FROM={{FROM}} SECONDS_AT_MOST="${SECONDS_AT_MOST:-28800}" {{optimised}} cargo test --locked --test simulation every_seed -- --nocapture

# Break the code on purpose, one defect after the other, and let the simulation find each
planted *NAMES:
    tests/simulation/plant {{NAMES}}

# Fuzz batch_visit, broker_request or event_decode (needs cargo-fuzz and a nightly toolchain; no sanitizer, since the crate has no unsafe code)
fuzz TARGET SECONDS="60":
    cargo +nightly fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}}

# Measure the whole path, from a loaded topic to counters in the store, against a real Kafka and Redis
bench *ARGS:
    cargo build --release --locked
    integration/services run bash -c 'KAFKA_BROKERS="$STREAMGAUGE_TEST_KAFKA" REDIS_URL="$STREAMGAUGE_TEST_REDIS_URL" exec target/release/streamgauge bench "$@"' bench {{ARGS}}

# Measure publishing over HTTP with the embedded log and store (needs wrk and hey); its first lines say what can be set
bench-publish *ARGS:
    cargo build --release --locked
    benches/publish {{ARGS}}

# The fully static binary: target/x86_64-unknown-linux-musl/release/streamgauge
musl:
    deploy/musl {{musl_target}}

# A container image with the static binary and nothing else
image TAG="streamgauge:latest":
    docker build -f deploy/Dockerfile -t {{TAG}} .

# Format the code
fmt:
    cargo fmt

# Whether the code is formatted
fmt-check:
    cargo fmt --check

# Clippy, with warnings as errors
lint:
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --test integration -- -D warnings

# Licences, bans and advisories of the dependencies (needs cargo-deny)
deny:
    cargo deny check bans licenses sources
