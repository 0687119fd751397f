#!lua flags=allow-oom
-- Forgets a closed batch whose run was admitted, or cannot be. Repeated: the same answer.
-- KEYS  1 gathering  2 seen  3 closed batches  4 gathered bytes
-- ARGV  1 now  2 id of the gathering  3 number of the batch  4 begun | refused: its events may come again, and count then
--       5 seconds that events are known after this
-- Returns {'settled'}.
local gathering, seen, closed, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, number, state, known = read_clock(ARGV[1]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local PLACES_AT_ONCE = 500
-- A gathering without batches: flow, key, last.
local FIELDS_LEFT = 3

local batch = unpacked(redis.call('HGET', gathering, 'closed:' .. number))
redis.call('ZCARD', seen)
redis.call('GET', total)
if redis.call('ZREM', closed, ARGV[2] .. '|' .. number) == 0 or not batch then return {'settled'} end

local function forget(first, last)
  local places, marks = {}, {}
  for at = first, last do
    places[#places + 1] = number .. '/' .. at
    marks[#marks + 1] = 'mark:' .. number .. '/' .. at
  end
  for _, mark in ipairs(redis.call('HMGET', gathering, unpack(marks))) do
    if mark and state == 'refused' then redis.call('ZREM', seen, mark) end
    if mark and state == 'begun' then redis.call('ZADD', seen, 'XX', now + known, mark) end
  end
  redis.call('HDEL', gathering, unpack(places))
  redis.call('HDEL', gathering, unpack(marks))
end

for first = 0, batch[EVENTS] - 1, PLACES_AT_ONCE do
  forget(first, math.min(first + PLACES_AT_ONCE, batch[EVENTS]) - 1)
end
redis.call('HDEL', gathering, 'closed:' .. number)
redis.call('INCRBY', total, -batch[BYTES])
if redis.call('HLEN', gathering) == FIELDS_LEFT then
  redis.call('PEXPIRE', gathering, known * 1000)
  redis.call('PEXPIRE', seen, known * 1000)
end
return {'settled'}
