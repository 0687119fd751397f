#!lua flags=allow-oom
-- Forgets a dead letter that was replayed or is not wanted.
-- KEYS  1 letter  2 letters  3 letters of runs  4 totals
-- ARGV  1 letter id
-- Returns {'forgotten'} | {'unknown'}.
local letter, letters, letters_of_runs, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local values = redis.call('HMGET', letter, 'bytes', 'run_id')
redis.call('ZCARD', letters)
redis.call('ZCARD', letters_of_runs)
redis.call('HLEN', totals)
if not values[1] then return {'unknown'} end

redis.call('DEL', letter)
redis.call('ZREM', letters, ARGV[1])
if values[2] ~= '' then redis.call('ZREM', letters_of_runs, values[2] .. '/' .. ARGV[1]) end
redis.call('HINCRBY', totals, 'bytes', -tonumber(values[1]))
return {'forgotten'}
