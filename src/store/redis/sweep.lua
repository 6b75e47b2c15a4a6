-- Removes counters that have expired, a bounded number of them. What is removed is among the changes that the persistent tier
-- lacks, so it is removed there too.
--
-- KEYS: days (sorted set of names by their time), aggregated, last (hashes), changed (set). ARGV: how many at most.
-- Answers how many were looked at.

local DAYS, AGGREGATED, LAST, CHANGED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = redis.call('ZRANGEBYSCORE', DAYS, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, ARGV[1])
for _, name in ipairs(due) do
  -- What stands beside the counter decides: the list may be of an older state.
  local noted = redis.call('HGET', LAST, name)
  local expire_at_ms = noted and string.match(noted, '^e(%d+)$')
  if expire_at_ms and tonumber(expire_at_ms) > now_ms then
    redis.call('ZADD', DAYS, expire_at_ms, name)
  else
    redis.call('ZREM', DAYS, name)
    if expire_at_ms then
      redis.call('HDEL', AGGREGATED, name)
      redis.call('HDEL', LAST, name)
      redis.call('SADD', CHANGED, name)
    end
  end
end
return #due
