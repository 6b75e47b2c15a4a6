-- Takes in a member's heartbeat: the rules of core/roster.rs, on the server's clock.
--
-- Costs the same however many partitions there are, unless something changed: whose session has ended is found by score.
-- Times and versions are below 2^53, so that doubles hold them.
--
-- KEYS: sessions (sorted set: member by the end of its session, in ms), members (hash: what each says of itself), leases
-- (hash: partition to "holder" or "holder next"), version. ARGV: member, its session timeout in ms, 'stays' or 'goes', what
-- it says of itself, the version that it knows or '', most members, most leases, then partition and step by turns.
-- Answers {1 if the member was not on the list, version}, then all members and all leases unless the version is known; or
-- {} where the group is full.

local SESSIONS, MEMBERS, LEASES, VERSION = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local me, timeout, stays, about, known = ARGV[1], tonumber(ARGV[2]), ARGV[3] == 'stays', ARGV[4], ARGV[5]
local most_members, most_leases = tonumber(ARGV[6]), tonumber(ARGV[7])
local FIRST_STEP = 8

local function whole(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local changed = false

-- Holder, and who waits or ''; nothing for what is no lease.
local function parts(lease)
  if lease then return string.match(lease, '^(%S+) ?(%S*)$') end
end

-- Drops leases of those who are gone; one that a living member waits for passes to it.
local function settle()
  local lives = {}
  for _, member in ipairs(redis.call('HKEYS', MEMBERS)) do lives[member] = true end
  local leases = redis.call('HGETALL', LEASES)
  for i = 1, #leases, 2 do
    local holder, waits = parts(leases[i + 1])
    local waits_on = waits and lives[waits]
    if not (holder and lives[holder]) then
      if waits_on then redis.call('HSET', LEASES, leases[i], waits) else redis.call('HDEL', LEASES, leases[i]) end
    elseif waits ~= '' and not waits_on then
      redis.call('HSET', LEASES, leases[i], holder)
    end
  end
  changed = true
end

-- The two lists differ only where a key was deleted or evicted: the group begins anew, or some would never leave it.
if redis.call('ZCARD', SESSIONS) ~= redis.call('HLEN', MEMBERS) then
  redis.call('DEL', SESSIONS, MEMBERS, LEASES)
  changed = true
end

-- 1. Sessions that have ended: taken off the list, unless it is everybody's and one of them speaks.
local ended = redis.call('ZRANGEBYSCORE', SESSIONS, '-inf', '(' .. whole(now))
if #ended > 0 then
  local own_end = redis.call('ZSCORE', SESSIONS, me)
  if own_end and #ended == redis.call('ZCARD', SESSIONS) then
    local silence = whole(now + timeout - tonumber(own_end))
    for _, member in ipairs(ended) do redis.call('ZINCRBY', SESSIONS, silence, member) end
  else
    redis.call('ZREM', SESSIONS, unpack(ended))
    redis.call('HDEL', MEMBERS, unpack(ended))
    settle()
  end
end

-- 2. What the member says of itself, or its goodbye.
local before = redis.call('HGET', MEMBERS, me)
local is_full = stays and not before and redis.call('HLEN', MEMBERS) >= most_members
if is_full then
  stays = false
elseif stays then
  redis.call('ZADD', SESSIONS, whole(now + timeout), me)
  if before ~= about then
    redis.call('HSET', MEMBERS, me, about)
    changed = true
  end
elseif before then
  redis.call('ZREM', SESSIONS, me)
  redis.call('HDEL', MEMBERS, me)
  settle()
end

-- 3. Its steps; one that does not fit changes nothing.
local count = redis.call('HLEN', LEASES)
for i = FIRST_STEP, stays and #ARGV or 0, 2 do
  local partition, step = ARGV[i], ARGV[i + 1]
  local holder, waits = parts(redis.call('HGET', LEASES, partition))
  local after
  if step == 'claim' then
    if not holder and count < most_leases then after, count = me, count + 1 end
  elseif step == 'wait' then
    if holder and holder ~= me and waits == '' then after = holder .. ' ' .. me end
  elseif step == 'withdraw' then
    if waits == me then after = holder end
  elseif step == 'release' then
    if holder == me then after = waits end
  end
  if after == '' then
    redis.call('HDEL', LEASES, partition)
    count = count - 1
  elseif after then
    redis.call('HSET', LEASES, partition, after)
  end
  changed = changed or after ~= nil
end

-- 4. The version, and what the member does not know yet.
local version = tonumber(redis.call('GET', VERSION) or 0) or 0
if changed then
  -- Above what the member knows: what was lost may have been of this very millisecond.
  version = math.max(version + 1, now, (tonumber(known) or 0) + 1)
  redis.call('SET', VERSION, whole(version))
end
if is_full then return {} end
local answer = { before and 0 or 1, whole(version) }
if known ~= whole(version) then
  answer[3], answer[4] = redis.call('HGETALL', MEMBERS), redis.call('HGETALL', LEASES)
end
return answer
