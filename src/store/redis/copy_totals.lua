-- One step of copying the totals that have changed, as absolute values, to the persistent tier: within this server, or to the
-- caller, who writes them elsewhere.
--
-- The copy is of one moment when a step ends with nothing left to copy: in that step, and only then, the checkpoints are
-- copied too. Until then it is open, and nothing is restored from it. A step takes a bounded number of totals, so that Redis
-- answers others in between; what changes meanwhile is noted as changed again, by flush.lua.
--
-- Who copies for the first time, or after somebody else, goes over all totals first: what was taken from the set of changes
-- and not written is in that. Times are microseconds below 2^53, so that doubles hold them.
--
-- KEYS: checkpoints, origins, meta, aggregated, last (hashes), changed (set), persistent, persistent:last,
-- persistent:checkpoints, persistent:origins, persistent:meta, persistent:state, exchange (hashes).
-- ARGV: 'here' or 'away', who copies, how many totals at most, for how many ms the copy of another is enough.
-- A changed total that is not there has expired (sweep.lua).
-- Answers {'N'}: nothing is counted; {'B'}: done by another, or not while a rebuild exchanges what is stored; {'P' a part or 'W' whole, version, time in ms, how many,
-- 0, or 2 where a sweep over all totals begins, 1 while it goes on; then for 'away' names, values, heads, and where whole:
-- checkpoints, origins, meta}.

local CHECKPOINTS, ORIGINS, META, AGGREGATED, LAST, CHANGED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local TOTALS, HEADS, THEIR_CHECKPOINTS, THEIR_ORIGINS, THEIR_META, STATE = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local is_here, me, most, patience_ms = ARGV[1] == 'here', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
-- Most values in one command: unpack() fails at 8,000. Even, so that pairs stay together.
local CHUNK = 4000

-- A store that was emptied must not empty its copy.
if redis.call('EXISTS', CHECKPOINTS) == 0 then return { 'N' } end
-- Amid an exchange the totals are of no checkpoint.
if redis.call('EXISTS', KEYS[13]) == 1 then return { 'B' } end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local stored = redis.call('HMGET', STATE, 'who', 'state', 'version', 'at_ms', 'cursor')
local who, state, version, at_ms, cursor = stored[1], stored[2], tonumber(stored[3] or '0'), tonumber(stored[4] or '0'), stored[5]

local is_recent = now_ms >= at_ms and now_ms - at_ms < patience_ms
if is_here then
  -- Whoever comes goes on where another stopped.
  if who == me and state == 'whole' and is_recent then return { 'B' } end
elseif who and who ~= me and is_recent then
  return { 'B' }
end
if who ~= me then
  redis.call('UNLINK', TOTALS, HEADS, THEIR_CHECKPOINTS, THEIR_ORIGINS, THEIR_META, CHANGED)
  redis.call('HSET', STATE, 'who', me, 'cursor', '0')
  cursor = '0'
end
local function whole(number) return string.format('%.0f', number) end
-- What members know to be among the changes is there no longer: they tell it by this (marks.rs). The numbers of their flushes
-- go with it, those of members that are gone too.
local function begin_epoch()
  redis.call('HSET', STATE, 'epoch', whole(now_us))
  for _, field in ipairs(redis.call('HKEYS', STATE)) do
    if string.find(field, '^flushed:') then redis.call('HDEL', STATE, field) end
  end
end
if who ~= me then begin_epoch() end

local function hmget(key, names)
  local values = {}
  for from = 1, #names, CHUNK do
    local part = redis.call('HMGET', key, unpack(names, from, math.min(from + CHUNK - 1, #names)))
    for i = 1, #part do values[from + i - 1] = part[i] end
  end
  return values
end

local names, is_sweeping = {}, cursor and true
if is_sweeping then
  local page = redis.call('HSCAN', AGGREGATED, cursor, 'COUNT', most)
  for i = 1, #page[2], 2 do names[#names + 1] = page[2][i] end
  cursor = page[1]
  if cursor == '0' then redis.call('HDEL', STATE, 'cursor') else redis.call('HSET', STATE, 'cursor', cursor) end
else
  names = redis.call('SPOP', CHANGED, most)
  if #names > 0 then begin_epoch() end
end
local values, heads = hmget(AGGREGATED, names), {}
if redis.call('EXISTS', LAST) == 1 then heads = hmget(LAST, names) end

if is_here then
  local pairs_of = { [TOTALS] = {}, [HEADS] = {} }
  local function add(key, name, value)
    local list = pairs_of[key]
    list[#list + 1] = name
    list[#list + 1] = value
  end
  for i = 1, #names do
    if values[i] then
      add(TOTALS, names[i], values[i])
    else
      redis.call('HDEL', TOTALS, names[i])
      redis.call('HDEL', HEADS, names[i])
    end
    if heads[i] then add(HEADS, names[i], heads[i]) end
  end
  for key, list in pairs(pairs_of) do
    for from = 1, #list, CHUNK do redis.call('HSET', key, unpack(list, from, math.min(from + CHUNK - 1, #list))) end
  end
end

local is_whole = (not is_sweeping or cursor == '0') and redis.call('SCARD', CHANGED) == 0
-- It only grows, also where the clock was set back or the store was emptied.
version = math.max(version + 1, now_us)
redis.call('HSET', STATE, 'state', is_whole and 'whole' or 'open', 'at_ms', whole(now_ms), 'version', whole(version))
if is_whole then
  if is_here then
    redis.call('DEL', THEIR_CHECKPOINTS, THEIR_ORIGINS, THEIR_META)
    redis.call('COPY', CHECKPOINTS, THEIR_CHECKPOINTS)
    redis.call('COPY', ORIGINS, THEIR_ORIGINS)
    redis.call('COPY', META, THEIR_META)
    redis.call('HSET', STATE, 'totals', redis.call('HLEN', TOTALS))
  end
end
local sweep = is_sweeping and 1 or 0
if who ~= me then sweep = 2 end
local answer = { is_whole and 'W' or 'P', whole(version), whole(now_ms), #names, sweep }
if not is_here then
  for i = 1, #names do heads[i] = heads[i] or false end
  answer[6], answer[7], answer[8] = names, values, heads
  if is_whole then
    answer[9], answer[10], answer[11] =
      redis.call('HGETALL', CHECKPOINTS), redis.call('HGETALL', ORIGINS), redis.call('HGETALL', META)
  end
end
return answer
