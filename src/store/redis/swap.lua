-- Compare-and-set of documents, each by itself.
-- KEYS: the first document; in a cluster there is no other. ARGV: prefix of the keys, swaps packed as msgpack: {name, expect or false, next or false, time to live in ms or false}.
-- Answers per swap: {'S'} swapped, or {'D', what is stored}.

local outcomes = {}
for i, swap in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key, expect, after, ttl = ARGV[1] .. swap[1], swap[2], swap[3], swap[4]
  local stored = redis.call('GET', key)
  if stored ~= expect then
    outcomes[i] = { 'D', stored }
  else
    if after and ttl then
      redis.call('SET', key, after, 'PX', ttl)
    elseif after then
      redis.call('SET', key, after)
    elseif stored then
      redis.call('DEL', key)
    end
    outcomes[i] = { 'S' }
  end
end
return outcomes
