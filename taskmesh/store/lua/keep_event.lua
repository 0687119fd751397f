#!lua
-- Keeps an event under its key for nodes that wait for it later, and says which wait for it now. What is to go soonest
-- makes room. Repeated: kept and counted once.
-- KEYS  1 kept events  2 the same by when they go  3 the same by their keys  4 nodes that wait under the key
-- ARGV  1 now  2 key  3 name of the event  4 the event  5 for how many seconds it is kept  6 most of one key
--       7 most bytes of all
-- Returns {word, how many others made room, node...}: kept | again (it was before) | full (there is no room for it) |
--         nothing (it is not to be kept).
local kept, kept_until, by_key, awaiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, key, event, seconds = read_clock(ARGV[1]), ARGV[2], ARGV[4], tonumber(ARGV[5])
local member, most, most_bytes = ARGV[2] .. '/' .. ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
-- How many make room at most for one event; so no call takes long.
local DROPPED_AT_ONCE = 500
-- The field of the hash that counts the bytes of all others; their names have a slash.
local BYTES = 'bytes'

local waiting = redis.call('ZRANGEBYSCORE', awaiting, now, '+inf')
local packed = cmsgpack.pack({now, now + seconds, event})
local held = tonumber(redis.call('HGET', kept, BYTES) or 0)
check_sorted_sets(2, 3)

local function answer(word, dropped)
  return {word, dropped, unpack(waiting)}
end

local function drop(each)
  local size = #(redis.call('HGET', kept, each) or '')
  redis.call('HDEL', kept, each)
  redis.call('ZREM', kept_until, each)
  redis.call('ZREM', by_key, each)
  held = redis.call('HINCRBY', kept, BYTES, -size)
end

-- The one of a key that is to go soonest, where it has as many as it may.
local function surplus()
  local members, soonest, at = redis.call('ZRANGEBYLEX', by_key, '[' .. key .. '/', '(' .. key .. '0'), nil, math.huge
  if #members < most then return nil end
  for _, each in ipairs(members) do
    local until_time = tonumber(redis.call('ZSCORE', kept_until, each) or 0)
    if until_time < at then soonest, at = each, until_time end
  end
  return soonest
end

if seconds == 0 then return answer('nothing', 0) end
for _, each in ipairs(redis.call('ZRANGEBYSCORE', kept_until, '-inf', now, 'LIMIT', 0, DROPPED_AT_ONCE)) do drop(each) end
if redis.call('HEXISTS', kept, member) == 1 then return answer('again', 0) end
local dropped = 0
local one_too_many = surplus()
while one_too_many or held + #packed > most_bytes do
  local next_one = one_too_many or redis.call('ZRANGE', kept_until, 0, 0)[1]
  if not next_one or #packed > most_bytes or dropped == DROPPED_AT_ONCE then return answer('full', dropped) end
  drop(next_one)
  one_too_many, dropped = nil, dropped + 1
end
redis.call('HSET', kept, member, packed)
redis.call('HINCRBY', kept, BYTES, #packed)
redis.call('ZADD', kept_until, now + seconds, member)
redis.call('ZADD', by_key, 0, member)
-- Where no event comes any more, nobody else takes away what is over.
for at = 1, 3 do redis.call('PEXPIRE', KEYS[at], 86400000) end
return answer('kept', dropped)
