-- Puts totals back into a shard that has no checkpoint, and then its positions, with which it is in use again.
--
-- KEYS: checkpoints, origins, meta, aggregated, last (hashes), changed (set), persistent, persistent:last,
-- persistent:checkpoints, persistent:origins, persistent:meta, persistent:state, exchange (hashes), days (sorted set).
-- ARGV: 'totals' some totals from elsewhere, 'positions' where they all are there, or 'here' those that this server keeps;
-- for 'here' the version that they must be of; then, packed as msgpack, the flat lists of checkpoints, origins and meta, or
-- of totals and heads.
-- Answers 'D' done, 'U' in use, 'C' something else is kept by now.

local CHECKPOINTS, ORIGINS, META, AGGREGATED, LAST, CHANGED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local TOTALS, HEADS, STATE = KEYS[7], KEYS[8], KEYS[12]
local what, version = ARGV[1], ARGV[2]
-- Most values in one command: unpack() fails at 8,000. Even, so that pairs stay together.
local CHUNK = 4000

local function write(key, list)
  for from = 1, #list, CHUNK do redis.call('HSET', key, unpack(list, from, math.min(from + CHUNK - 1, #list))) end
end

local function list_day(name, head)
  local expire_at_ms = string.match(head, '^e(%d+)$')
  if expire_at_ms then redis.call('ZADD', KEYS[14], expire_at_ms, name) end
end

-- Counters of sets whose latest event decides are made again together with these (flush.lua): what a set lacks for now would
-- be counted a second time. Counters that expire are listed again.
local function look_beside()
  local cursor = '0'
  repeat
    local page = redis.call('HSCAN', LAST, cursor, 'COUNT', CHUNK)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      if page[2][i + 1] == 'm' then
        redis.call('HDEL', AGGREGATED, page[2][i])
        redis.call('HDEL', LAST, page[2][i])
      end
      list_day(page[2][i], page[2][i + 1])
    end
  until cursor == '0'
end

if redis.call('EXISTS', CHECKPOINTS) == 1 then return 'U' end
local lists = cmsgpack.unpack(ARGV[3])
if what == 'totals' then
  write(AGGREGATED, lists[1])
  write(LAST, lists[2])
  for i = 1, #lists[2], 2 do list_day(lists[2][i], lists[2][i + 1]) end
  return 'D'
end
if what == 'here' then
  local state = redis.call('HMGET', STATE, 'state', 'version', 'totals')
  local is_whole = state[1] == 'whole' and state[2] == version
  if not is_whole or tonumber(state[3] or '-1') ~= redis.call('HLEN', TOTALS) then return 'C' end
  redis.call('DEL', AGGREGATED, LAST)
  redis.call('COPY', TOTALS, AGGREGATED)
  redis.call('COPY', HEADS, LAST)
  look_beside()
  -- What is copied is what is there, but the positions have changed: the next copy is whole when it has those.
  redis.call('DEL', CHANGED)
else
  -- Whoever copies begins with all totals.
  redis.call('DEL', STATE)
end
local time = redis.call('TIME')
redis.call('HSET', STATE, 'epoch', string.format('%.0f', tonumber(time[1]) * 1e6 + tonumber(time[2])))
write(CHECKPOINTS, lists[1])
write(ORIGINS, lists[2])
write(META, lists[3])
return 'D'
