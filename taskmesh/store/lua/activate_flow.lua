#!lua flags=allow-oom
-- Makes a version of a flow the active one, in place of any other. Repeated: 'same', and not recorded twice.
-- KEYS  1 flow (hash, as of push_flow)
-- ARGV  1 now  2 number  3 which one must be active now ('' = any, 0 = none)  4 by whom  5 why
--       6 activate | rollback = back to one that was active before
-- Returns {'activated', active before (0 = none)} | {'same'} | {'unknown'} | {'archived'} | {'moved', active}.
local flow, now, number, expected, kind = KEYS[1], read_clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[6]
-- How many steps back can be taken.
local TRAIL_KEPT = 100

local found = redis.call('HMGET', flow, number, 'active', 'archived:' .. number, 'trail')
local active, trail = tonumber(found[2] or 0), unpacked(found[4]) or {}
if not found[1] then return {'unknown'} end
if active == number then return {'same'} end
if found[3] then return {'archived'} end
if expected ~= '' and tonumber(expected) ~= active then return {'moved', active} end

if kind == 'rollback' then
  while #trail > 0 and table.remove(trail) ~= number do end
elseif active > 0 then
  trail[#trail + 1] = active
  if #trail > TRAIL_KEPT then table.remove(trail, 1) end
end
change('active', number)
change('trail', cmsgpack.pack(trail))
outdated[1] = 'draft:' .. number
remember(flow, kind, now, number, active, ARGV[4], ARGV[5])
write(flow)
return {'activated', active}
