#!lua
-- Keeps a dead letter while there is room. Repeated: the same answer, kept and counted once.
-- KEYS  1 letter  2 letters  3 letters of runs  4 totals
-- ARGV  1 most letters  2 most bytes  3 letter id  4 time it was given up  5 bytes  6 run id/letter id, or ''
--       7.. the letter's fields: name, value, name, value ...
-- Returns {'kept'} | {'full'}.
local letter, letters, letters_of_runs, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most_letters, most_bytes, bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])

if redis.call('HLEN', letter) > 0 then return {'kept'} end
local kept = redis.call('ZCARD', letters)
local held = tonumber(redis.call('HGET', totals, 'bytes') or 0)
redis.call('ZCARD', letters_of_runs)
if kept >= most_letters or held + bytes > most_bytes then return {'full'} end

redis.call('HSET', letter, 'bytes', bytes, unpack(ARGV, 7))
redis.call('ZADD', letters, ARGV[4], ARGV[3])
if ARGV[6] ~= '' then redis.call('ZADD', letters_of_runs, 0, ARGV[6]) end
redis.call('HINCRBY', totals, 'bytes', bytes)
return {'kept'}
