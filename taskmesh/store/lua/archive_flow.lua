#!lua flags=allow-oom
-- Archives a version of a flow that is not active, or restores it to what it was. Repeated: 'same'.
-- KEYS  1 flow (hash, as of push_flow)
-- ARGV  1 now  2 number  3 archive | restore  4 by whom  5 why
-- Returns {'archived'} | {'restored'} | {'same'} | {'unknown'} | {'active'}.
local flow, now, number, kind = KEYS[1], read_clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local mark = 'archived:' .. number

local found = redis.call('HMGET', flow, number, 'active', mark)
local archives, is_archived = kind == 'archive', found[3] and true or false
if not found[1] then return {'unknown'} end
if archives == is_archived then return {'same'} end
if archives and tonumber(found[2] or 0) == number then return {'active'} end

if archives then change(mark, 1) else outdated[1] = mark end
remember(flow, kind, now, number, 0, ARGV[4], ARGV[5])
write(flow)
return {archives and 'archived' or 'restored'}
