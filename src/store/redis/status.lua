-- Notes what became of events in groups.
-- KEYS: a status's key; all others lie in its slot. ARGV: prefix of the keys, statuses packed as msgpack: a flat list of event id, group, status, ms to keep.

local statuses = cmsgpack.unpack(ARGV[2])
for i = 1, #statuses, 4 do
  local key, keep = ARGV[1] .. 'sg:status:' .. statuses[i], statuses[i + 3]
  redis.call('HSET', key, statuses[i + 1], statuses[i + 2])
  -- Another group's may be kept for longer.
  if redis.call('PTTL', key) < tonumber(keep) then redis.call('PEXPIRE', key, keep) end
end
return redis.status_reply('OK')
