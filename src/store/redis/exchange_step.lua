-- One step of an exchange. What it does, it may do twice: nothing is lost where it breaks off.
--
-- KEYS: exchange, aggregated, last of the shard; checkpoints, aggregated, last of the shadow; days of the shard. ARGV: prefix of the other keys of
-- the shard, the same of the shadow, phase, step, the next phase or '', msgpack of {names of counters, names of sets, names of
-- other keys}.
-- Answers 1 done, 0 another step is due, -1 the shadow is gone.

local EXCHANGE, AGGREGATED, LAST = KEYS[1], KEYS[2], KEYS[3]
local SHADOW, SHADOW_AGGREGATED, SHADOW_LAST = KEYS[4], KEYS[5], KEYS[6]
local PREFIX, SHADOW_PREFIX, PHASE, STEP, NEXT = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- Most values in one command: unpack() fails at 8,000. Even, so that pairs stay together.
local CHUNK = 4000

local at = redis.call('HMGET', EXCHANGE, 'phase', 'step')
if at[1] ~= PHASE or at[2] ~= STEP then return 0 end
if redis.call('EXISTS', SHADOW) == 0 then return -1 end
local numbers, sets, keys = unpack(cmsgpack.unpack(ARGV[6]))

local function each_chunk(list, call)
  for from = 1, #list, CHUNK do call(unpack(list, from, math.min(from + CHUNK - 1, #list))) end
end

local function fields(live, shadow)
  local absent, present, pairs_of = {}, {}, {}
  for from = 1, #numbers, CHUNK do
    local till = math.min(from + CHUNK - 1, #numbers)
    local values = redis.call('HMGET', shadow, unpack(numbers, from, till))
    for i = from, till do
      local value = values[i - from + 1]
      if value then
        present[#present + 1] = numbers[i]
        pairs_of[#pairs_of + 1] = numbers[i]
        pairs_of[#pairs_of + 1] = value
      else
        absent[#absent + 1] = numbers[i]
      end
    end
  end
  if PHASE == 'removing' then
    each_chunk(absent, function(...) redis.call('HDEL', live, ...) end)
  else
    each_chunk(pairs_of, function(...) redis.call('HSET', live, ...) end)
    each_chunk(present, function(...) redis.call('HDEL', shadow, ...) end)
  end
  return pairs_of
end

fields(AGGREGATED, SHADOW_AGGREGATED)
local heads = fields(LAST, SHADOW_LAST)
if PHASE == 'taking' then
  for i = 1, #heads, 2 do
    local expire_at_ms = string.match(heads[i + 1], '^e(%d+)$')
    if expire_at_ms then redis.call('ZADD', KEYS[7], expire_at_ms, heads[i]) end
  end
end

-- Keys that stand together: some of them are there, or none is.
local function exchange(names)
  local live, shadow, there = {}, {}, {}
  for i, name in ipairs(names) do
    live[i], shadow[i] = PREFIX .. name, SHADOW_PREFIX .. name
    if redis.call('EXISTS', shadow[i]) == 1 then there[#there + 1] = i end
  end
  if PHASE == 'removing' and #there == 0 then
    redis.call('UNLINK', unpack(live))
  elseif PHASE == 'taking' and #there > 0 then
    -- RENAME alone would free the old one while everybody waits.
    redis.call('UNLINK', unpack(live))
    for _, i in ipairs(there) do redis.call('RENAME', shadow[i], live[i]) end
  end
end

for _, name in ipairs(keys) do exchange({ name }) end
-- With what is kept of the events of its elements, where the latest one decides (flush.lua).
for _, name in ipairs(sets) do exchange({ name, 'sg:in:' .. name, 'sg:out:' .. name, 'sg:gone:' .. name }) end
redis.call('HINCRBY', EXCHANGE, 'step', 1)
if NEXT ~= '' then redis.call('HSET', EXCHANGE, 'phase', NEXT) end
return 1
