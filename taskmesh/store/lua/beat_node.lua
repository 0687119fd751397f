#!lua flags=allow-oom
-- Keeps what a running attempt says of its progress, for the next attempt; tells it whether it should go on.
-- KEYS  1 run
-- ARGV  1 node  2 token  3 checkpoint ('' = the one before)  4 holder
-- Returns {'beaten', halt} | {'stale'} | {'unknown'}.
local run = KEYS[1]
local node = ARGV[1]

local values = redis.call('HMGET', run, 'node:' .. node, 'halt', 'status')
local record = unpacked(values[1])
if not record then return {'unknown'} end
if values[3] == TERMINATED then return {'stale'} end
if record[STATE] ~= 'running' or not is_of(record, tonumber(ARGV[2]), ARGV[4]) then return {'stale'} end
if ARGV[3] ~= '' then change('checkpoint:' .. node, ARGV[3]) end
write(run)
return {'beaten', is_halted({halt = values[2], status = values[3]}) and values[2] or ''}
