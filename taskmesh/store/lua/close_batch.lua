#!lua
-- Closes the batch of a gathering whose time is over, or that has to make room. Repeated: 'moved'.
-- KEYS  1 gathering  2 gatherings by when their batch closes  3 closed batches
-- ARGV  1 now  2 id of the gathering  3 '1' = also before its time is over
-- Returns {'closed'} | {'moved'} (it takes events for longer by now, or was closed).
local gathering, gatherings, closed = KEYS[1], KEYS[2], KEYS[3]
local now, id = read_clock(ARGV[1]), ARGV[2]

local batch = unpacked(redis.call('HGET', gathering, 'open'))
check_sorted_sets(2)
if batch and batch[CLOSES_AT] > now and ARGV[3] ~= '1' then return {'moved'} end
if not batch then
  redis.call('ZREM', gatherings, id)
  return {'moved'}
end
shut(gathering, gatherings, closed, id, batch, now)
return {'closed'}
