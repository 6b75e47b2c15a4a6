-- What the persistent tier keeps. A prefix is a store's REDIS_KEY_PREFIX; the shards are those of STORE_SHARDS.

-- What a shard's totals belong to: the moment of the last whole copy.
CREATE TABLE streamgauge_moments (
    prefix text NOT NULL,
    shard smallint NOT NULL,
    shards smallint NOT NULL,
    version bigint NOT NULL,
    at_ms bigint NOT NULL,
    positions jsonb NOT NULL,
    PRIMARY KEY (prefix, shard)
);

-- The totals. A row has the version of the copy that wrote it; an older one never replaces it.
CREATE TABLE streamgauge_totals (
    prefix text NOT NULL,
    shard smallint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    head text,
    version bigint NOT NULL,
    PRIMARY KEY (prefix, shard, name)
);

-- For reading: a counter that members move has a piece in several shards.
CREATE VIEW streamgauge_counters AS
    SELECT prefix, name, sum(value) AS value FROM streamgauge_totals GROUP BY prefix, name;
