#!lua
-- Gives nodes of a run that is being forked the outputs that they have in the run which it comes from. One that has a
-- record already stays as it is.
-- KEYS  1 run
-- ARGV  1 now  2 kind of the pause  3 the nodes  4.. the output of each
-- Returns {'inherited'} | {'unknown'} | {'running'} (the run is not paused for that any more).
local run = KEYS[1]
local now, nodes, FIRST_OUTPUT = read_clock(ARGV[1]), cmsgpack.unpack(ARGV[3]), 4

local values = redis.call('HMGET', run, 'status', 'paused', 'remaining', 'watched')
local paused = unpacked(values[2])
if not values[1] then return {'unknown'} end
if not OPEN[values[1]] or not paused or paused[1] ~= ARGV[2] then return {'running'} end

local remaining = tonumber(values[3])
for at, node in ipairs(nodes) do
  if redis.call('HEXISTS', run, 'node:' .. node) == 0 then
    save(node, {'succeeded', 0, 1, 0, 0, now, '', SPREAD_DONE, INHERITED})
    change('output:' .. node, ARGV[FIRST_OUTPUT + at - 1])
    note(values[4], 'node', node, 'succeeded', now, 0, '', INHERITED)
    remaining = remaining - 1
  end
end
change('remaining', remaining)
write(run)
return {'inherited'}
