#!lua
-- Lets nothing new of a run start; what waits in a queue ends as cancelled when it is claimed.
-- KEYS  1 run  2 timers
-- ARGV  1 now  2 run id  3 status that the run will end with
-- Returns {'halted'} | {'unknown'} | {'ended', status}.
local run, timers = KEYS[1], KEYS[2]
local now, run_id, final = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local status = redis.call('HGET', run, 'status')
if not status then return {'unknown'} end
if status ~= 'running' then return {'ended', status} end
check_sorted_sets(2)
if redis.call('HEXISTS', run, 'halt') == 0 then
  halt_with(run, run_id, timers, final, now)
  note(redis.call('HGET', run, 'watched'), 'halt', final, now)
  write(run)
end
return {'halted'}
