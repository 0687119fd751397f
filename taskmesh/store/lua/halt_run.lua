#!lua
-- Lets nothing new of a run start; what waits in a queue ends as cancelled when it is claimed.
-- Until it has ended, it stands among the halted runs: there the keeper finds what nobody claims, and ends it.
-- KEYS  1 run  2 halted runs
-- ARGV  1 now  2 run id  3 status that the run will end with  4 by whom ('' = the engine)  5 why
--       6 '1' = undo then what has been committed
-- Returns {'halted', 'paused' if it was, so that its ready nodes have no message, else ''} | {'unknown'} |
--         {'ended', status} | {'preparing', kind} (something else must be finished first) |
--         {'nothing'} (that could be undone).
-- A paused run goes on, to its end. Repeated: the same answer, but it is not paused any more.
local run, halted = KEYS[1], KEYS[2]
local now, run_id, final = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local values = redis.call('HMGET', run, 'status', 'paused', 'halt', 'watched', 'undo_base')
local status, paused = values[1], unpacked(values[2])
if not status then return {'unknown'} end
if status ~= 'running' then return {'ended', status} end
if paused and paused[1] ~= 'user' then return {'preparing', paused[1]} end
if ARGV[6] == '1' and not values[5] then return {'nothing'} end
check_sorted_sets(2)
if ARGV[6] == '1' then redis.call('HSETNX', run, 'compensation', 0) end
-- What a failure asked for that was handled.
if ARGV[6] ~= '1' and not values[3] then redis.call('HDEL', run, 'compensation') end
if not values[3] then
  change('halt', final)
  put_due(halted, run_id, now)
  if ARGV[4] ~= '' then change('halted_by', cmsgpack.pack({ARGV[4], ARGV[5], now})) end
  remember(run, 'halt', now, final, ARGV[4], ARGV[5])
  note(values[4], 'halt', final, now)
  write(run)
end
if paused then redis.call('HDEL', run, 'paused') end
return {'halted', paused and 'paused' or ''}
