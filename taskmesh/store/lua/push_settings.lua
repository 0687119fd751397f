#!lua flags=allow-oom
-- Keeps live settings as the next revision, which holds from now on; or says that the newest has them. Repeated: that one.
-- KEYS  1 pushed settings (hash)
-- ARGV  1 now  2 values, a msgpack map  3 by whom  4 message  5 which revision must be the newest ('' = any, 0 = none)
--       6 push | rollback | unset  7 of a rollback, the revision that has these values, else 0
-- Returns {'pushed', number} | {'same', number} | {'moved', newest}.
-- The pushed settings are a hash:
--   latest           number of the newest revision
--   values           its values
--   NUMBER           a revision, a msgpack array: kind, at, by whom, message, of which revision
--   values:NUMBER    its values; the newest REVISIONS_KEPT are kept
-- The number is announced on the sharded channel KEY:news.
local pushed, now, values, expected = KEYS[1], read_clock(ARGV[1]), ARGV[2], ARGV[5]
local REVISIONS_KEPT = 1000
local NO_VALUES = '\128'

local found = redis.call('HMGET', pushed, 'latest', 'values')
local latest = tonumber(found[1] or 0)
if (found[2] or NO_VALUES) == values then return {'same', latest} end
if expected ~= '' and tonumber(expected) ~= latest then return {'moved', latest} end

local number, oldest = latest + 1, latest + 1 - REVISIONS_KEPT
change('latest', number)
change('values', values)
change(number, cmsgpack.pack({ARGV[6], now, ARGV[3], ARGV[4], tonumber(ARGV[7])}))
change('values:' .. number, values)
if oldest > 0 then outdated = {oldest, 'values:' .. oldest} end
write(pushed)
redis.call('SPUBLISH', pushed .. ':news', number)
return {'pushed', number}
