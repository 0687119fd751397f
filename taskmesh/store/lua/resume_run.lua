#!lua
-- Lets a paused run go on. Its ready nodes have no messages: the caller, or in time the keeper, publishes them again.
-- KEYS  1 run
-- ARGV  1 now  2 kind of the pause to end
-- Returns {'resumed'} | {'unknown'} | {'ended', status} | {'running'} (it is not paused) |
--         {'preparing', kind} (paused until something else is finished).
local run = KEYS[1]
local now = read_clock(ARGV[1])

local values = redis.call('HMGET', run, 'status', 'paused', 'watched')
local paused = unpacked(values[2])
if not values[1] then return {'unknown'} end
if not OPEN[values[1]] then return {'ended', values[1]} end
if not paused then return {'running'} end
if paused[1] ~= ARGV[2] then return {'preparing', paused[1]} end

redis.call('HDEL', run, 'paused')
note(values[3], 'resume', 'running', now)
write(run)
return {'resumed'}
