-- Claims topics for a group: all of them, or none.
-- KEYS: meta (hash). ARGV: group, topics. Answers {} or {topic, its owner}.

local group = ARGV[1]
for i = 2, #ARGV do
  local owner = redis.call('HGET', KEYS[1], 'group:' .. ARGV[i])
  if owner and owner ~= group then return { ARGV[i], owner } end
end
for i = 2, #ARGV do redis.call('HSET', KEYS[1], 'group:' .. ARGV[i], group) end
return {}
