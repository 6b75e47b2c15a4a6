-- Claims topics for a group: all of them, or none; and notes the number of shards, which never changes.
-- KEYS: meta (hash). ARGV: group, number of shards, topics. Answers {}, {the noted number} or {topic, its owner}.

local META, group, shards = KEYS[1], ARGV[1], ARGV[2]
local noted = redis.call('HGET', META, 'shards')
-- What was written before the number was noted lies in one.
if not noted and redis.call('HLEN', META) > 0 then noted = '1' end
if noted and noted ~= shards then return { noted } end
for i = 3, #ARGV do
  local owner = redis.call('HGET', META, 'group:' .. ARGV[i])
  if owner and owner ~= group then return { ARGV[i], owner } end
end
redis.call('HSET', META, 'shards', shards)
for i = 3, #ARGV do redis.call('HSET', META, 'group:' .. ARGV[i], group) end
return {}
