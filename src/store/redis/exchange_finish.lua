-- Ends an exchange: the checkpoints of its plan are in force. Other partitions of its topics have none.
--
-- KEYS: exchange, checkpoints, gaps, persistent:state: totals have changed that are not among the noted changes, so the next copy
-- goes over all of them. ARGV: step. Answers 1, or 0 where another step is due.

local EXCHANGE, CHECKPOINTS, GAPS = KEYS[1], KEYS[2], KEYS[3]

local at = redis.call('HMGET', EXCHANGE, 'phase', 'step')
if at[1] ~= 'taking' or at[2] ~= ARGV[1] then return 0 end

local noted, is_exchanged, known = redis.call('HGETALL', EXCHANGE), {}, {}
for i = 1, #noted, 2 do
  local what, name = string.match(noted[i], '^(%l+):(.*)$')
  if what == 'topic' then
    is_exchanged[name] = true
  elseif what == 'to' then
    known[name] = true
    redis.call('HSET', CHECKPOINTS, name, noted[i + 1])
  elseif what == 'gap' then
    local from, to = string.match(noted[i + 1], '^(%d+):(%d+)$')
    redis.call('HSET', GAPS, name .. ':' .. from, to)
  end
end
for _, partition in ipairs(redis.call('HKEYS', CHECKPOINTS)) do
  if not known[partition] and is_exchanged[string.match(partition, '^(.*):%d+$')] then
    redis.call('HDEL', CHECKPOINTS, partition)
  end
end
redis.call('DEL', EXCHANGE, KEYS[4])
return 1
