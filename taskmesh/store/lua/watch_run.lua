#!lua
-- Has each transition of a run announced from now on. Of one that sends events they are announced anyway.
-- KEYS  1 run
-- Returns {'watched'} | {'unknown'}.
if redis.call('EXISTS', KEYS[1]) == 0 then return {'unknown'} end
redis.call('HSETNX', KEYS[1], 'watched', 1)
return {'watched'}
