#!lua
-- Stores a schedule, or replaces its definition; ticks in `due` keep the one they were recorded under.
-- KEYS  1 schedule  2 schedules by when they begin next  3 counter of revisions
-- ARGV  1 now  2 schedule id  3 revision that was seen ('' = there is none)  4 digest  5 definition  6 overlap policy
--       7 first tick ('' = none)  8 when its run begins, in seconds ('+inf' = never)  9 `next` that was seen
-- Returns {'put', revision} | {'same', revision} (it is so already) | {'changed'} (not what was seen).
local schedule, schedules, counter = KEYS[1], KEYS[2], KEYS[3]
local now, schedule_id, digest = read_clock(ARGV[1]), ARGV[2], ARGV[4]

local found = read_schedule(schedule)
local known_digest, older = unpack(redis.call('HMGET', schedule, 'digest', 'older'))
if found.revision and known_digest == digest then return {'same', found.revision} end
if (found.revision or '') ~= ARGV[3] or (found.revision and found.next ~= ARGV[9]) then return {'changed'} end
redis.call('ZCARD', schedules)

local before = redis.call('HGET', schedule, 'revision')
-- A counter that the server has lost counts again; a number with a digest still stands for one definition.
local revision = string.format('%.0f-%s', redis.call('INCR', counter), digest:sub(1, 8))
if before then
  older = unpacked(older) or {}
  older[#older + 1] = before
  if found.starting > 0 then
    redis.call('HSET', schedule, 'older', cmsgpack.pack(older))
  else
    redis.call('HDEL', schedule, 'definition:' .. before)
  end
end
if not found.revision then
  redis.call('HDEL', schedule, 'removed', 'begun', 'skipped', 'missed', 'refused')
  redis.call('HSET', schedule, 'created_at', now)
end
redis.call('HSET', schedule, 'revision', revision, 'definition:' .. revision, ARGV[5], 'digest', digest, 'overlap', ARGV[6],
  'next', ARGV[7], 'updated_at', now)
redis.call('ZADD', schedules, ARGV[8], schedule_id)
return {'put', revision}
