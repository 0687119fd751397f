#!lua
-- Lets no ready node of a run start until it is resumed; what runs goes on to its end.
-- KEYS  1 run
-- ARGV  1 now  2 by whom  3 why
-- Returns {'paused'} | {'unknown'} | {'ended', status} | {'ending'} (it is halted, or undone) |
--         {'preparing', kind} (paused already, until something else is finished).
local run = KEYS[1]
local now = read_clock(ARGV[1])

local values = redis.call('HMGET', run, 'status', 'paused', 'halt', 'watched')
local paused = unpacked(values[2])
if not values[1] then return {'unknown'} end
if not OPEN[values[1]] then return {'ended', values[1]} end
if values[3] or values[1] == 'compensating' then return {'ending'} end
if paused then return paused[1] == 'user' and {'paused'} or {'preparing', paused[1]} end

change('paused', cmsgpack.pack({'user', ARGV[2], ARGV[3], now}))
remember(run, 'pause', now, 'paused', ARGV[2], ARGV[3])
note(values[4], 'pause', 'paused', now)
write(run)
return {'paused'}
