#!lua
-- Lets nothing new of a run start; what waits in a queue ends as cancelled when it is claimed.
-- KEYS  1 run
-- ARGV  1 now  2 status that the run will end with
-- Returns {'halted'} | {'unknown'} | {'ended', status}.
local run = KEYS[1]
local status = redis.call('HGET', run, 'status')
if not status then return {'unknown'} end
if status ~= 'running' then return {'ended', status} end
if redis.call('HSETNX', run, 'halt', ARGV[2]) == 1 then
  note(redis.call('HGET', run, 'watched'), 'halt', ARGV[2], read_clock(ARGV[1]))
  write(run)
end
return {'halted'}
