#!lua
-- Keeps a page of the items of a run that is to be admitted next; what nobody admits then expires.
-- KEYS  1 run
-- ARGV  1 how many fields were staged before  2 ms until they expire  3.. the next fields
-- Returns {'staged', how many there are} (also when they were before) | {'same'} (the run is there already) |
--         {'behind'} (a gap).
local run, from, FIRST = KEYS[1], tonumber(ARGV[1]), 3
local count = #ARGV - FIRST + 1

local values = redis.call('HMGET', run, 'digest', 'staged')
local staged = tonumber(values[2] or 0)
if values[1] then return {'same'} end
if staged < from then return {'behind'} end
if staged >= from + count then return {'staged', staged} end

for at = FIRST, #ARGV do change('items:' .. from + at - FIRST, ARGV[at]) end
change('staged', from + count)
write(run)
redis.call('PEXPIRE', run, ARGV[2])
return {'staged', from + count}
