-- Shared by the scripts about batches of events, put before their body as far as they use it.
--
-- A gathering gathers the events of one flow that have one key. It is a hash:
--   flow, key           the name of the flow, and the key
--   last                the number of its newest batch: when that was opened in microseconds, or one more than the one before
--   open                the batch that takes events, a msgpack array (below); absent while none does
--   closed:NUMBER       one that is closed and whose run is not admitted yet: the same array
--   NUMBER/I, mark:NUMBER/I    event I of a batch, and what it is known by
-- `seen` is a sorted set of what events are known by that were taken, by when they are forgotten: none that is in a batch here.
-- A member of the partition's `closed_batches` is ID|NUMBER. `gathered_bytes` counts what the events of all batches take.
-- When a gathering has no batch any more, the hash and `seen` expire.
local NUMBER, VERSION, OPENED_AT, CLOSES_AT, EVENTS, WEIGHT, BYTES = 1, 2, 3, 4, 5, 6, 7

-- Lets a batch take no more events; from here on its run is to be admitted.
local function shut(gathering, gatherings, closed, id, batch, now)
  redis.call('HSET', gathering, 'closed:' .. batch[NUMBER], cmsgpack.pack(batch))
  redis.call('HDEL', gathering, 'open')
  redis.call('ZREM', gatherings, id)
  redis.call('ZADD', closed, now, id .. '|' .. batch[NUMBER])
end
