//! The statements, and the migrations that they need.

/// Changes of the schema, in order; the number of each is its place, from 1.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// Held while the schema is looked at and changed: members start together.
pub(super) const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(x'73676d6967726174'::bigint)";
/// Which migrations were made.
pub(super) const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS streamgauge_migrations (
    version integer PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now()
)";
/// The last of them, or 0.
pub(super) const LAST_MIGRATION: &str = "SELECT coalesce(max(version), 0) FROM streamgauge_migrations";
/// Notes one.
pub(super) const NOTE_MIGRATION: &str = "INSERT INTO streamgauge_migrations (version) VALUES ($1)";

/// Writes totals: prefix, shard, names, values, heads, version.
pub(super) const WRITE: &str = "INSERT INTO streamgauge_totals AS held (prefix, shard, name, value, head, version)
    SELECT $1, $2, taken.name, taken.value, taken.head, $6
    FROM unnest($3::text[], $4::bigint[], $5::text[]) AS taken (name, value, head)
    ON CONFLICT (prefix, shard, name) DO UPDATE
    SET value = excluded.value, head = excluded.head, version = excluded.version
    WHERE held.version < excluded.version";
/// Removes totals that are none any more: prefix, shard, names, version.
pub(super) const REMOVE: &str = "DELETE FROM streamgauge_totals
    WHERE prefix = $1 AND shard = $2 AND name = ANY($3::text[]) AND version < $4";
/// Forgets totals that are older than the beginning of a sweep: prefix, shard, version.
pub(super) const FORGET: &str = "DELETE FROM streamgauge_totals WHERE prefix = $1 AND shard = $2 AND version < $3";
/// Notes a moment: prefix, shard, shards, version, time, positions. Writes no row where a newer one stands.
pub(super) const NOTE: &str =
    "INSERT INTO streamgauge_moments AS held (prefix, shard, shards, version, at_ms, positions)
    VALUES ($1, $2, $3, $4, $5, $6::text::jsonb)
    ON CONFLICT (prefix, shard) DO UPDATE
    SET shards = excluded.shards, version = excluded.version, at_ms = excluded.at_ms, positions = excluded.positions
    WHERE held.version < excluded.version";
/// The moment of a shard: prefix, shard.
pub(super) const MOMENT: &str = "SELECT shards, version, at_ms, positions::text FROM streamgauge_moments
    WHERE prefix = $1 AND shard = $2";
/// How many totals a shard has: prefix, shard.
pub(super) const COUNT: &str = "SELECT count(*) FROM streamgauge_totals WHERE prefix = $1 AND shard = $2";
/// A page of totals: prefix, shard, the name before, how many.
pub(super) const PAGE: &str = "SELECT name, value, head FROM streamgauge_totals
    WHERE prefix = $1 AND shard = $2 AND name > $3 ORDER BY name LIMIT $4";
