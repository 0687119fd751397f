#!lua flags=allow-oom
-- Takes a tick out of `due` whose run was admitted, or cannot be, and remembers that. Repeated: the same answer.
-- KEYS  1 schedule  2 due  3 started  4 passed  5 backfill
-- ARGV  1 now  2 member of due  3 run id  4 tick  5 kind  6 started | refused  7 why it was refused
-- Returns {'settled'}.
local schedule, due, started = KEYS[1], KEYS[2], KEYS[3]
local now, member, run_id, tick, state = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[6]

local found = read_schedule(schedule)
local removed, older = unpack(redis.call('HMGET', schedule, 'removed', 'older'))
check_lists(started)
if redis.call('ZREM', due, member) == 0 then return {'settled'} end

local starting = found.starting - 1
if removed and starting <= 0 then
  redis.call('UNLINK', schedule, started, KEYS[4], KEYS[5])
  return {'settled'}
end
redis.call('HSET', schedule, 'starting', starting)
redis.call('LPUSH', started, cmsgpack.pack({tick, run_id, ARGV[5], state, ARGV[7], now}))
redis.call('LTRIM', started, 0, RUNS_KEPT - 1)
if state == 'refused' then
  drop_ended(found, {run_id})
  redis.call('HSET', schedule, 'active', cmsgpack.pack(found.active))
  redis.call('HINCRBY', schedule, 'refused', 1)
end
if starting <= 0 and older then
  for _, revision in ipairs(cmsgpack.unpack(older)) do redis.call('HDEL', schedule, 'definition:' .. revision) end
  redis.call('HDEL', schedule, 'older')
end
return {'settled'}
