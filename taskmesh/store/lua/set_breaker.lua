#!lua flags=allow-oom
-- Opens or closes a breaker by hand. What it had counted is forgotten.
-- KEYS  1 breaker (hash, as of consult_breaker)
-- ARGV  1 now  2 open | closed  3 in how many seconds an open one may be tried
-- Returns {'open'} | {'closed'} | {'unknown'} (no worker has met it).
local breaker, now, state = KEYS[1], read_clock(ARGV[1]), ARGV[2]

local before = redis.call('HGET', breaker, 'state')
if not before then return {'unknown'} end
if before ~= state then
  redis.call('HSET', breaker, 'since', now)
  if state == 'open' then redis.call('HINCRBY', breaker, 'opens', 1) end
end
redis.call('HSET', breaker, 'state', state, 'failures', 0, 'window', cmsgpack.pack({}), 'probe', '', 'probe_until', 0,
  'try_at', now + tonumber(ARGV[3]))
return {state}
