#!lua
-- Takes an event into the open batch of its gathering, or into a new one. Repeated: 'same'.
-- KEYS  1 gathering  2 seen  3 gatherings by when their batch closes  4 closed batches  5 gathered bytes
-- ARGV  1 now  2 id of the gathering  3 what the event is known by  4 event  5 bytes that it adds to the parameters at most
--       6 name of the flow  7 key  8 hash of its version  9 seconds that the event keeps its batch open
--       10 seconds that a batch is open at most  11 most events of it  12 most bytes of its parameters
--       13 most bytes gathered in the partition
-- Returns {'gathered', number of the batch} | {'same'} (it was taken before) | {'full'} (no room in the partition until
--         runs have begun) | {'behind'} (so many of the gathering wait for their runs that none may be forgotten for it).
-- A batch of another version, or with no room for the event, is closed, and so is one whose time is over.
local gathering, seen, gatherings, closed, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, id, mark, event, weight = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local version, stays, longest = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local most_events, most_weight, most_bytes = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
-- How many events a gathering knows again, and what one takes beside its own bytes.
local SEEN_KEPT, EVENT_BYTES = 10000, 350
local NEVER = 'inf'

local open, last = unpack(redis.call('HMGET', gathering, 'open', 'last'))
local forgotten_at = redis.call('ZSCORE', seen, mark)
if forgotten_at and (forgotten_at == NEVER or tonumber(forgotten_at) > now) then return {'same'} end
check_sorted_sets(3, 4)
local bytes = #event + EVENT_BYTES
local oldest = redis.call('ZCARD', seen) >= SEEN_KEPT and redis.call('ZRANGE', seen, 0, 0, 'WITHSCORES')
if oldest and oldest[2] == NEVER then return {'behind'} end
if tonumber(redis.call('GET', total) or 0) + bytes > most_bytes then return {'full'} end

local batch = unpacked(open)
if batch and (batch[VERSION] ~= version or batch[CLOSES_AT] <= now or batch[WEIGHT] + weight > most_weight) then
  shut(gathering, gatherings, closed, id, batch, now)
  batch = nil
end
if not batch then
  local number = string.format('%.0f', math.max(math.floor(now * 1000000), tonumber(last or 0) + 1))
  batch = {number, version, now, 0, 0, 0, 0}
  redis.call('HSET', gathering, 'flow', ARGV[6], 'key', ARGV[7], 'last', number)
end
local place = batch[NUMBER] .. '/' .. batch[EVENTS]
redis.call('HSET', gathering, place, event, 'mark:' .. place, mark)
batch[CLOSES_AT] = math.min(now + stays, batch[OPENED_AT] + longest)
batch[EVENTS], batch[WEIGHT], batch[BYTES] = batch[EVENTS] + 1, batch[WEIGHT] + weight, batch[BYTES] + bytes
if batch[EVENTS] >= most_events then
  shut(gathering, gatherings, closed, id, batch, now)
else
  redis.call('HSET', gathering, 'open', cmsgpack.pack(batch))
  redis.call('ZADD', gatherings, batch[CLOSES_AT], id)
end
if oldest then redis.call('ZREM', seen, oldest[1]) end
redis.call('ZREMRANGEBYSCORE', seen, '-inf', now)
redis.call('ZADD', seen, '+inf', mark)
redis.call('INCRBY', total, bytes)
redis.call('PERSIST', gathering)
redis.call('PERSIST', seen)
return {'gathered', batch[NUMBER]}
