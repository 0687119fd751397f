#!lua
-- Registers a node that waits for an event with a key, and gives the events with that key that are kept.
-- KEYS  1 kept events  2 the same by their keys  3 nodes that wait under the key
-- ARGV  1 now  2 key  3 node  4 for how many seconds  5 most nodes that may wait under it  6 how old events may be
-- Returns {'kept', event...}, the oldest first | {'full'} (so many wait).
local kept, by_key, awaiting = KEYS[1], KEYS[2], KEYS[3]
local now, key, node, seconds, oldest = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])

local is_known = redis.call('ZSCORE', awaiting, node)
local members = redis.call('ZRANGEBYLEX', by_key, '[' .. key .. '/', '(' .. key .. '0')
local events = {}
for _, member in ipairs(members) do
  local event = unpacked(redis.call('HGET', kept, member))
  if event and event[2] > now and now - event[1] <= oldest then events[#events + 1] = event end
end
table.sort(events, function(one, other) return one[1] < other[1] end)

redis.call('ZREMRANGEBYSCORE', awaiting, '-inf', now)
if not is_known and redis.call('ZCARD', awaiting) >= tonumber(ARGV[5]) then return {'full'} end
redis.call('ZADD', awaiting, now + seconds, node)
local last = redis.call('ZRANGE', awaiting, -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', awaiting, math.ceil((tonumber(last[2]) - now) * 1000))
local answer = {'kept'}
for _, event in ipairs(events) do answer[#answer + 1] = event[3] end
return answer
