-- Begins an exchange: compares all, then notes what is to be done and puts marks in place of the checkpoints.
--
-- KEYS: checkpoints, exchange (hashes), checkpoints of the shadow. ARGV: msgpack of
-- {id, the id that gives way or false, topics, {partition, checkpoint, mark, checkpoint in the shadow, gap or false} each}, mark of
-- a partition that is not among them.
-- Answers {} begun, {'U'} another one is under way, {'S', partition} the shadow lacks it, {'M', partition, stored} it was moved.

local CHECKPOINTS, EXCHANGE, SHADOW = KEYS[1], KEYS[2], KEYS[3]
local id, instead_of, topics, targets = unpack(cmsgpack.unpack(ARGV[1]))

local under_way = redis.call('HGET', EXCHANGE, 'id')
if under_way == id then return {} end
if under_way ~= instead_of then return { 'U' } end

local known = {}
for _, target in ipairs(targets) do
  local partition, after, _, in_shadow = unpack(target)
  known[partition] = true
  if redis.call('HGET', SHADOW, partition) ~= in_shadow then return { 'S', partition } end
  local stored = redis.call('HGET', CHECKPOINTS, partition)
  if stored then
    local offset, incarnation = string.match(stored, '^1:(%d+):(%d+):')
    local to, raised = string.match(after, '^1:(%d+):(%d+):')
    if not offset or tonumber(incarnation) >= tonumber(raised) or tonumber(offset) < tonumber(to) then
      return { 'M', partition, stored }
    end
  end
end

local is_exchanged = {}
for _, topic in ipairs(topics) do is_exchanged[topic] = true end
redis.call('DEL', EXCHANGE)
redis.call('HSET', EXCHANGE, 'id', id, 'phase', 'removing', 'step', '0')
for _, topic in ipairs(topics) do redis.call('HSET', EXCHANGE, 'topic:' .. topic, '1') end
for _, partition in ipairs(redis.call('HKEYS', CHECKPOINTS)) do
  if not known[partition] and is_exchanged[string.match(partition, '^(.*):%d+$')] then
    redis.call('HSET', CHECKPOINTS, partition, ARGV[2])
  end
end
for _, target in ipairs(targets) do
  local partition, after, mark, _, gap = unpack(target)
  redis.call('HSET', CHECKPOINTS, partition, mark)
  redis.call('HSET', EXCHANGE, 'to:' .. partition, after)
  if gap then redis.call('HSET', EXCHANGE, 'gap:' .. partition, gap) end
end
return {}
