-- The members of a group and their leases, for one who takes no part: writes nothing. Which lease of a dead member passes to
-- whom is said in core/roster.rs.
--
-- KEYS: as in beat.lua. Answers the version, the members whose session has not ended, what all members say of themselves
-- (name and document by turns), all leases (partition and lease by turns).

local SESSIONS, MEMBERS, LEASES, VERSION = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

return {
  redis.call('GET', VERSION) or '0',
  redis.call('ZRANGEBYSCORE', SESSIONS, string.format('%.0f', now), '+inf'),
  redis.call('HGETALL', MEMBERS),
  redis.call('HGETALL', LEASES),
}
