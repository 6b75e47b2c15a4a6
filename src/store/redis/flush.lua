-- Applies sections, each by itself: compare the checkpoint, check everything, then write.
--
-- A script that fails midway keeps what it wrote, so nothing is written before the whole section is known to fit.
-- Lua numbers are doubles: every number is a decimal string here, and sums are made from halves of nine digits.
--
-- KEYS: checkpoints, aggregated, last, gaps, meta, exchange (hashes), changed (set of the totals that the persistent tier lacks),
-- persistent:state (hash), days (sorted set of the counters that expire, by their time). ARGV: prefix of the other keys, sections packed as msgpack, '1' where the caller has opened this
-- store; what the caller believes of the set of changes (marks.rs): its epoch; the caller's name, the number of its flush before this
-- one, and of this one.
-- Answers the epoch and '1' where what is believed is so, then per section: {'A'} applied, {'D'} done before, {'C', stored} conflict, {'R', reason, key} refused.

local CHECKPOINTS, AGGREGATED, LAST = KEYS[1], KEYS[2], KEYS[3]
local GAPS, META, EXCHANGE, CHANGED, DAYS = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[9]
local PREFIX = ARGV[1]
local EPOCH = redis.call('HGET', KEYS[8], 'epoch') or ''
local FLUSHED = 'flushed:' .. ARGV[5]
-- What the caller knows to be marked is marked: nothing was copied since, and this is no state from before its last flush.
local IS_AS_BELIEVED = EPOCH == ARGV[4] and redis.call('HGET', KEYS[8], FLUSHED) == ARGV[6]
-- What was opened has a claim: without one it was emptied since, which a section that expects nothing would not notice.
local EMPTIED = ARGV[3] == '1' and redis.call('EXISTS', META) == 0
-- Most values in one command: unpack() fails at 8,000. Even, so that pairs stay together.
local CHUNK = 4000
-- Scores of sorted sets are doubles: beyond this a sum would not be exact.
local SCORE_MAX = 9007199254740992
local HLL_DENSE_BYTES = 12304
-- Beside a set whose latest event decides: the events of what is in, of what was taken out, and when that was stored.
local IN, OUT, GONE = 'sg:in:', 'sg:out:', 'sg:gone:'
-- Stands before an event's id in the key of its statuses, a hash by group.
local STATUS = 'sg:status:'
-- Most that is forgotten of a set in one section.
local FORGET_MAX = 500
-- In counters:last of a counter that such sets move: it is made again with them, where totals are restored (put_back.lua).
local MADE_AGAIN = 'm'

local byte, sub, find, match, format = string.byte, string.sub, string.find, string.match, string.format
local min, floor = math.min, math.floor

-- Whether Redis itself would take the text for a 64-bit number (string2ll).
local function is_int64(text)
  if text == '0' then return true end
  if not find(text, '^%-?[1-9]%d*$') then return false end
  if #text < 19 then return true end
  if byte(text) == 45 then return #text < 20 or (#text == 20 and text <= '-9223372036854775808') end
  return #text == 19 and text <= '9223372036854775807'
end

local function greater(a, b)
  local a_negative, b_negative = byte(a) == 45, byte(b) == 45
  if a_negative ~= b_negative then return b_negative end
  if a == b then return false end
  local longer
  if #a ~= #b then longer = #a > #b else longer = a > b end
  return longer ~= a_negative
end

-- 0 - x, not -x: a negative zero would print its sign.
local function split(text)
  local negative = byte(text) == 45
  local digits = negative and sub(text, 2) or text
  local high, low = 0, tonumber(sub(digits, -9))
  if #digits > 9 then high = tonumber(sub(digits, 1, -10)) end
  if negative then return 0 - high, 0 - low end
  return high, low
end

local function join(high, low)
  local carry = floor(low / 1e9)
  high, low = high + carry, low - carry * 1e9
  if high < 0 and low > 0 then high, low = high + 1, low - 1e9 end
  local sign = ''
  if high < 0 or low < 0 then sign, high, low = '-', 0 - high, 0 - low end
  if high == 0 then return sign .. format('%.0f', low) end
  return sign .. format('%.0f%09.0f', high, low)
end

local function add(a, b)
  if #a <= 15 and #b <= 15 then return format('%.0f', tonumber(a) + tonumber(b)) end
  local a_high, a_low = split(a)
  local b_high, b_low = split(b)
  return join(a_high + b_high, a_low + b_low)
end

local function refused(reason, key) return { 'R', reason, key } end

local known_types = {}
local function is_type(key, wanted)
  known_types[key] = known_types[key] or redis.call('TYPE', key).ok
  return known_types[key] == 'none' or known_types[key] == wanted
end
local function is_hash(key) return is_type(key, 'hash') end
local function is_set(key) return is_type(key, 'set') end

local function hmget(key, names)
  local values = {}
  for from = 1, #names, CHUNK do
    local part = redis.call('HMGET', key, unpack(names, from, min(from + CHUNK - 1, #names)))
    for i = 1, #part do values[from + i - 1] = part[i] end
  end
  return values
end

local function write(command, key, values)
  for from = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, from, min(from + CHUNK - 1, #values)))
  end
end

local now
local function now_ms()
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + floor(tonumber(time[2]) / 1000)
  end
  return now
end

local function push(list, a, b)
  local size = #list
  list[size + 1], list[size + 2] = a, b
end

-- Every check below returns a refusal, or nil after adding to the plan what is to be written.

local function move(moved, counter, amount)
  local sum = moved[counter]
  if not sum then
    sum = { 0, 0 }
    moved[counter] = sum
  end
  local high, low = split(amount)
  high, low = sum[1] + high, sum[2] + low
  local carry = floor(low / 1e9)
  sum[1], sum[2] = high + carry, low - carry * 1e9
end

local function check_members(plan, members, moved)
  for _, member in ipairs(members) do
    local name, elements, operations, counters, amounts, later = unpack(member)
    local key, added, removed = PREFIX .. name, {}, {}
    for from = 1, #elements, CHUNK do
      local present = redis.pcall('SMISMEMBER', key, unpack(elements, from, min(from + CHUNK - 1, #elements)))
      if present.err then return refused('type', name) end
      for i = 1, #present do
        local at, was = from + i - 1, present[i] == 1
        local operation = byte(operations, at) - 48
        local first_is_add, present_after = operation % 2 == 1, operation >= 2
        if first_is_add ~= was and counters[at] then move(moved, counters[at], amounts[at]) end
        if later[at] then
          for j = 1, #later[at], 2 do move(moved, later[at][j], later[at][j + 1]) end
        end
        if present_after and not was then added[#added + 1] = elements[at] end
        if was and not present_after then removed[#removed + 1] = elements[at] end
      end
    end
    plan.sets[#plan.sets + 1] = { key, added, removed }
  end
end

-- An element is what the event with the greatest head says, and a counter has one for each that is in: so the order in which
-- events arrive does not matter. What is stored of one that is in is its head, and its counter behind a colon.
local function check_presences(plan, presences, moved)
  local made_again = {}
  for _, presence in ipairs(presences) do
    local name, tombstones, elements, heads, signs, counters = unpack(presence)
    local key = PREFIX .. name
    local keys = { set = key, ['in'] = PREFIX .. IN .. name, out = PREFIX .. OUT .. name, gone = PREFIX .. GONE .. name }
    for wanted, of in pairs({ set = key, hash = keys['in'], hash_out = keys.out, zset = keys.gone }) do
      local found = redis.call('TYPE', of).ok
      if found ~= 'none' and found ~= match(wanted, '^%l+') then return refused('type', name) end
    end
    local writes = { keys = keys, keep_ms = tonumber(tombstones), added = {}, removed = {}, came = {}, left = {}, gone = {} }
    for from = 1, #elements, CHUNK do
      local last = min(from + CHUNK - 1, #elements)
      local present = redis.call('SMISMEMBER', key, unpack(elements, from, last))
      local inside = redis.call('HMGET', keys['in'], unpack(elements, from, last))
      local outside = redis.call('HMGET', keys.out, unpack(elements, from, last))
      for at = from, last do
        local i, head, is_in = at - from + 1, heads[at], byte(signs, at) == 49
        local element, own = elements[at], counters[at] or ''
        -- In by a rule that the log ordered, before the catalogue changed: as if by an event before all others.
        local known, counted = outside[i] or '', present[i] == 1 and own or ''
        if inside[i] then known, counted = sub(inside[i], 1, #head), sub(inside[i], #head + 2) end
        if known ~= '' and not find(known, '^%x+$') or known ~= '' and #known ~= #head then
          return refused('number', name)
        end
        if head > known then
          local counts = is_in and own or ''
          if counts ~= counted then
            if counted ~= '' then
              move(moved, counted, '-1')
              made_again[counted] = true
            end
            if counts ~= '' then
              move(moved, counts, '1')
              made_again[counts] = true
            end
          end
          if is_in then
            writes.added[#writes.added + 1] = element
            push(writes.came, element, head .. ':' .. own)
          else
            writes.removed[#writes.removed + 1] = element
            push(writes.left, element, head)
            push(writes.gone, format('%.0f', now_ms()), element)
          end
        end
      end
    end
    plan.presences[#plan.presences + 1] = writes
  end
  for counter in pairs(made_again) do push(plan.tuples, counter, MADE_AGAIN) end
end

-- The times of the last counts of a section, by their place. What has expired leaves no trace.
local function living(section)
  local names, amounts, expiries = section[6], section[7], section[18]
  local plain, untils = #names - #expiries, {}
  if #expiries == 0 then return untils end
  local kept_names, kept_amounts = {}, {}
  for i = 1, #names do
    local expire_at_ms = expiries[i - plain]
    if i <= plain or tonumber(expire_at_ms) > now_ms() then
      kept_names[#kept_names + 1], kept_amounts[#kept_amounts + 1] = names[i], amounts[i]
      untils[#kept_names] = expire_at_ms
    end
  end
  section[6], section[7] = kept_names, kept_amounts
  return untils
end

-- Beside a counter that expires stands when, for sweep.lua and for where totals are restored.
local function check_untils(plan, names, untils)
  local expiring = {}
  for i in pairs(untils) do expiring[#expiring + 1] = names[i] end
  local noted, at = hmget(LAST, expiring), 0
  for i, expire_at_ms in pairs(untils) do
    at = at + 1
    local before = noted[at] and match(noted[at], '^e(%d+)$')
    if not before or tonumber(before) < tonumber(expire_at_ms) then
      push(plan.tuples, names[i], 'e' .. expire_at_ms)
      push(plan.days, expire_at_ms, names[i])
    end
  end
end

local function check_counts(plan, names, amounts, moved)
  if next(moved) then
    local places = {}
    for i = 1, #names do places[names[i]] = i end
    for name, sum in pairs(moved) do
      local amount, place = join(sum[1], sum[2]), places[name]
      if place then
        amounts[place] = add(amounts[place], amount)
      else
        place = #names + 1
        names[place], amounts[place] = name, amount
      end
      if not is_int64(amounts[place]) then return refused('overflow', name) end
    end
  end
  local stored, numbers = hmget(AGGREGATED, names), plan.numbers
  local last = #numbers
  for i = 1, #names do
    local sum, before = amounts[i], stored[i]
    if before then
      if not is_int64(before) then return refused('number', names[i]) end
      if #before < 10 and #sum < 10 then
        -- Nearly all of them: both fit 32 bits, and Lua prints whole numbers much faster than doubles.
        sum = format('%d', before + sum)
      else
        sum = add(before, sum)
        if not is_int64(sum) then return refused('overflow', names[i]) end
      end
    end
    numbers[last + 1], numbers[last + 2] = names[i], sum
    last = last + 2
  end
end

local function check_highest(plan, names, values)
  local stored = hmget(AGGREGATED, names)
  for i = 1, #names do
    if stored[i] and not is_int64(stored[i]) then return refused('number', names[i]) end
    if not stored[i] or greater(values[i], stored[i]) then push(plan.numbers, names[i], values[i]) end
  end
end

local function check_latest(plan, names, heads, values)
  local numbers, tuples = hmget(AGGREGATED, names), hmget(LAST, names)
  for i = 1, #names do
    if numbers[i] and not is_int64(numbers[i]) then return refused('number', names[i]) end
    local head = ''
    if tuples[i] then
      head = match(tuples[i], '^(%x+):%-?%d+$')
      if not head or #head ~= #heads[i] then return refused('number', names[i]) end
    end
    if heads[i] > head then
      push(plan.numbers, names[i], values[i])
      push(plan.tuples, names[i], heads[i] .. ':' .. values[i])
    end
  end
end

local function is_hyperloglog(key)
  local head = redis.pcall('GETRANGE', key, 0, 15)
  if type(head) ~= 'string' then return false end
  if head == '' then return redis.call('EXISTS', key) == 0 end
  if #head < 16 or sub(head, 1, 4) ~= 'HYLL' then return false end
  local encoding = byte(head, 5)
  return encoding == 1 or (encoding == 0 and redis.call('STRLEN', key) == HLL_DENSE_BYTES)
end

local function check_uniques(plan, uniques)
  for _, unique in ipairs(uniques) do
    if not is_hyperloglog(PREFIX .. unique[1]) then return refused('type', unique[1]) end
  end
  plan.uniques = uniques
end

local function check_recents(plan, recents)
  for _, recent in ipairs(recents) do
    local size = redis.pcall('ZCARD', PREFIX .. recent[1])
    if type(size) ~= 'number' then return refused('type', recent[1]) end
    recent.trims = size + #recent[3] / 2 > tonumber(recent[2])
  end
  plan.recents = recents
end

local function check_tops(plan, tops)
  for _, top in ipairs(tops) do
    local name, expire, elements, amounts = unpack(top)
    local key, scores = PREFIX .. name, {}
    for from = 1, #elements, CHUNK do
      local stored = redis.pcall('ZMSCORE', key, unpack(elements, from, min(from + CHUNK - 1, #elements)))
      if stored.err then return refused('type', name) end
      for i = 1, #stored do
        local at = from + i - 1
        local digits = match(amounts[at], '%d+')
        if #digits > 16 or (#digits == 16 and digits > '9007199254740992') then return refused('overflow', name) end
        local amount, score = tonumber(amounts[at]), tonumber(stored[i] or '0')
        if score ~= floor(score) or score > SCORE_MAX or score < -SCORE_MAX then return refused('number', name) end
        -- The room that is left is exact where the sum itself would already be rounded.
        if (score >= 0 and amount > SCORE_MAX - score) or (score <= 0 and amount < -SCORE_MAX - score) then
          return refused('overflow', name)
        end
        push(scores, format('%.0f', score + amount), elements[at])
      end
    end
    plan.tops[#plan.tops + 1] = { key, expire, scores }
  end
end

-- Two rules of one section that feed one key with different types would only be found out by the second write.
local function check_names(uniques, recents, tops, members, presences)
  local kinds = {}
  local lists = { unique = uniques, recent = recents, top = tops, member = members, presence = presences }
  for kind, list in pairs(lists) do
    for _, entry in ipairs(list) do
      if kinds[entry[1]] and kinds[entry[1]] ~= kind then return refused('type', entry[1]) end
      kinds[entry[1]] = kind
    end
  end
end

local function check_hashes(section)
  if not is_hash(AGGREGATED) then return refused('type', 'counters:aggregated') end
  if not is_set(CHANGED) then return refused('type', 'counters:changed') end
  if (#section[10] > 0 or #section[17] > 0 or #section[18] > 0) and not is_hash(LAST) then
    return refused('type', 'counters:last')
  end
  if #section[18] > 0 and not is_type(DAYS, 'zset') then return refused('type', 'counters:days') end
  if section[4] and not is_hash(GAPS) then return refused('type', 'counters:gaps') end
  if #section[5] > 0 and not is_hash(META) then return refused('type', 'counters:meta') end
end

local function apply_presence(presence)
  local keys, keep_ms = presence.keys, presence.keep_ms
  write('SADD', keys.set, presence.added)
  write('HSET', keys['in'], presence.came)
  write('HDEL', keys.out, presence.added)
  write('ZREM', keys.gone, presence.added)
  write('SREM', keys.set, presence.removed)
  write('HDEL', keys['in'], presence.removed)
  write('HSET', keys.out, presence.left)
  write('ZADD', keys.gone, presence.gone)
  -- By the time at which it was stored, not the event's: a recount of old records needs it as long as counting does.
  local before = format('(%.0f', now_ms() - keep_ms)
  local due = redis.call('ZRANGEBYSCORE', keys.gone, '-inf', before, 'LIMIT', 0, FORGET_MAX)
  write('HDEL', keys.out, due)
  write('ZREM', keys.gone, due)
  -- A set that nothing touches any more forgets all of it at once.
  if #presence.left > 0 then
    redis.call('PEXPIRE', keys.out, presence.keep_ms)
    redis.call('PEXPIRE', keys.gone, presence.keep_ms)
  end
end

local function apply(plan)
  write('HSET', AGGREGATED, plan.numbers)
  for _, names in ipairs(plan.changed) do write('SADD', CHANGED, names) end
  write('HSET', LAST, plan.tuples)
  write('ZADD', DAYS, plan.days)
  for _, unique in ipairs(plan.uniques) do
    local key = PREFIX .. unique[1]
    write('PFADD', key, unique[3])
    if unique[2] then redis.call('PEXPIREAT', key, unique[2]) end
  end
  for _, recent in ipairs(plan.recents) do
    local key = PREFIX .. recent[1]
    write('ZADD', key, recent[3])
    if recent.trims then redis.call('ZREMRANGEBYRANK', key, 0, -tonumber(recent[2]) - 1) end
  end
  for _, top in ipairs(plan.tops) do
    write('ZADD', top[1], top[3])
    if top[2] then redis.call('PEXPIREAT', top[1], top[2]) end
  end
  for _, set in ipairs(plan.sets) do
    write('SADD', set[1], set[2])
    write('SREM', set[1], set[3])
  end
  for _, presence in ipairs(plan.presences) do apply_presence(presence) end
end

-- What became of events: no result, so what stands in its way is left alone.
local function note(statuses)
  for i = 1, #statuses, 4 do
    local key, keep = PREFIX .. STATUS .. statuses[i], statuses[i + 3]
    local put = redis.pcall('HSET', key, statuses[i + 1], statuses[i + 2])
    -- Another group's may be kept for longer.
    if type(put) == 'number' and redis.call('PTTL', key) < tonumber(keep) then redis.call('PEXPIRE', key, keep) end
  end
end

local function handle(section)
  if not is_hash(CHECKPOINTS) then return refused('type', 'counters:checkpoints') end
  local field, expect, after = section[1], section[2], section[3]
  local stored = redis.call('HGET', CHECKPOINTS, field)
  if stored == after then return { 'D' } end
  if stored ~= expect or (EMPTIED and not stored) then return { 'C', stored } end
  -- A checkpoint that is exchanged is no one's to expect; a partition that has none yet has no place for that mark.
  if not expect and redis.call('HEXISTS', EXCHANGE, 'topic:' .. match(field, '^(.*):%d+$')) == 1 then
    return { 'C', stored }
  end
  local plan, moved = { numbers = {}, tuples = {}, tops = {}, sets = {}, presences = {}, days = {} }, {}
  local untils = living(section)
  local counts = #section[6]
  local refusal = check_hashes(section)
    or check_names(section[13], section[14], section[15], section[16], section[17])
    or check_members(plan, section[16], moved)
    or check_presences(plan, section[17], moved)
    or check_counts(plan, section[6], section[7], moved)
    or check_highest(plan, section[8], section[9])
    or check_latest(plan, section[10], section[11], section[12])
    or check_uniques(plan, section[13])
    or check_recents(plan, section[14])
    or check_tops(plan, section[15])
  if refusal then return refusal end
  check_untils(plan, section[6], untils)
  plan.changed = { section[19], {} }
  if IS_AS_BELIEVED then
    -- Counters that members move are found out here only.
    for i = counts + 1, #section[6] do plan.changed[2][i - counts] = section[6][i] end
  else
    plan.changed = { section[6], section[8], section[10] }
  end
  apply(plan)
  note(section[20])
  redis.call('HSET', CHECKPOINTS, field, after)
  if section[4] then redis.call('HSET', GAPS, field .. ':' .. section[4][1], section[4][2]) end
  write('HSET', META, section[5])
  return { 'A' }
end

local outcomes = { EPOCH, IS_AS_BELIEVED and '1' or '0' }
for i, section in ipairs(cmsgpack.unpack(ARGV[2])) do outcomes[i + 2] = handle(section) end
redis.call('HSET', KEYS[8], FLUSHED, ARGV[7])
return outcomes
