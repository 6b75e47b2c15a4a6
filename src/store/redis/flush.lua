-- Applies sections, each by itself: compare the checkpoint, check everything, then write.
--
-- A script that fails midway keeps what it wrote, so nothing is written before the whole section is known to fit.
-- Lua numbers are doubles: every number is a decimal string here, and sums are made from halves of nine digits.
--
-- KEYS: checkpoints, aggregated, last, gaps, meta (hashes). ARGV: prefix of the other keys, sections packed as msgpack.
-- Answers per section: {'A'} applied, {'D'} done before, {'C', stored} conflict, {'R', reason, key} refused.

local CHECKPOINTS, AGGREGATED, LAST, GAPS, META = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = ARGV[1]
-- Most values in one command: unpack() fails at 8,000. Even, so that pairs stay together.
local CHUNK = 4000
-- Scores of sorted sets are doubles: beyond this a sum would not be exact.
local SCORE_MAX = 9007199254740992
local HLL_DENSE_BYTES = 12304

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

local known_hashes = {}
local function is_hash(key)
  if known_hashes[key] == nil then
    local kind = redis.call('TYPE', key).ok
    known_hashes[key] = kind == 'none' or kind == 'hash'
  end
  return known_hashes[key]
end

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

local function push(list, a, b)
  local size = #list
  list[size + 1], list[size + 2] = a, b
end

-- Every check below returns a refusal, or nil after adding to the plan what is to be written.

local function check_members(plan, members, moved)
  local function move(counter, amount)
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
        if first_is_add ~= was and counters[at] then move(counters[at], amounts[at]) end
        if later[at] then
          for j = 1, #later[at], 2 do move(later[at][j], later[at][j + 1]) end
        end
        if present_after and not was then added[#added + 1] = elements[at] end
        if was and not present_after then removed[#removed + 1] = elements[at] end
      end
    end
    plan.sets[#plan.sets + 1] = { key, added, removed }
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
  local stored = hmget(AGGREGATED, names)
  for i = 1, #names do
    local sum = amounts[i]
    if stored[i] then
      if not is_int64(stored[i]) then return refused('number', names[i]) end
      sum = add(stored[i], sum)
      if not is_int64(sum) then return refused('overflow', names[i]) end
    end
    push(plan.numbers, names[i], sum)
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
local function check_names(uniques, recents, tops, members)
  local kinds = {}
  for kind, list in pairs({ unique = uniques, recent = recents, top = tops, member = members }) do
    for _, entry in ipairs(list) do
      if kinds[entry[1]] and kinds[entry[1]] ~= kind then return refused('type', entry[1]) end
      kinds[entry[1]] = kind
    end
  end
end

local function check_hashes(section)
  if not is_hash(AGGREGATED) then return refused('type', 'counters:aggregated') end
  if #section[10] > 0 and not is_hash(LAST) then return refused('type', 'counters:last') end
  if section[4] and not is_hash(GAPS) then return refused('type', 'counters:gaps') end
  if #section[5] > 0 and not is_hash(META) then return refused('type', 'counters:meta') end
end

local function apply(plan)
  write('HSET', AGGREGATED, plan.numbers)
  write('HSET', LAST, plan.tuples)
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
end

local function handle(section)
  if not is_hash(CHECKPOINTS) then return refused('type', 'counters:checkpoints') end
  local field, expect, after = section[1], section[2], section[3]
  local stored = redis.call('HGET', CHECKPOINTS, field)
  if stored == after then return { 'D' } end
  if stored ~= expect then return { 'C', stored } end
  local plan, moved = { numbers = {}, tuples = {}, tops = {}, sets = {} }, {}
  local refusal = check_hashes(section)
    or check_names(section[13], section[14], section[15], section[16])
    or check_members(plan, section[16], moved)
    or check_counts(plan, section[6], section[7], moved)
    or check_highest(plan, section[8], section[9])
    or check_latest(plan, section[10], section[11], section[12])
    or check_uniques(plan, section[13])
    or check_recents(plan, section[14])
    or check_tops(plan, section[15])
  if refusal then return refusal end
  apply(plan)
  redis.call('HSET', CHECKPOINTS, field, after)
  if section[4] then redis.call('HSET', GAPS, field .. ':' .. section[4][1], section[4][2]) end
  write('HSET', META, section[5])
  return { 'A' }
end

local outcomes = {}
for i, section in ipairs(cmsgpack.unpack(ARGV[2])) do outcomes[i] = handle(section) end
return outcomes
