# What can be done here. `just` alone lists it; the README's test command is `just test`.

set shell := ["bash", "-euo", "pipefail", "-c"]

musl_target := "x86_64-unknown-linux-musl"

# List the recipes
default:
    @just --list

# Run with what the environment says
run *ARGS:
    cargo run --release -- {{ARGS}}

# See it work with nothing installed: embedded log and store, generated traffic
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Everything: form, lints, hermetic tests, then the tests against a real Kafka and Redis
test: fmt-check lint unit integration

# The tests that need no server
unit:
    cargo test --locked

# The tests against a real Kafka and Redis, which are brought up for it and taken down after, also on failure
integration *ARGS:
    integration/services run cargo test --locked --test integration -- --test-threads=1 {{ARGS}}

# The simulation over many seeds: SEEDS of them from FROM on, for SECONDS_AT_MOST at most, all from the environment: a night by default
soak:
    SEEDS="${SEEDS:-1000000000}" FROM="${FROM:-10000}" SECONDS_AT_MOST="${SECONDS_AT_MOST:-28800}" CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo test --target-dir "${CARGO_TARGET_DIR:-target}/soak" --locked --test simulation every_seed -- --nocapture

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
