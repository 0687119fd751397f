#!lua flags=allow-oom
-- Takes, keeps or gives up the right to keep house in one partition. Each new leader gets a higher epoch, the fence:
-- what a leader writes is refused once another one has taken over.
-- KEYS  1 keeper (hash: holder, until, epoch, wanted = when a candidate asked last whose partition this should be)
-- ARGV  1 now  2 holder  3 lease in seconds
--       4 'take' = it should be mine: as soon as it is free | 'spare' = once it has been free for a whole lease, and
--         until somebody wants it whose it should be | 'yield' = not any more
-- Returns {'leading', epoch} | {'following'}.
local keeper, now, holder, lease, wish = KEYS[1], read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]
local found = redis.call('HMGET', keeper, 'holder', 'until', 'epoch', 'wanted')
local until_time, epoch = tonumber(found[2] or 0), tonumber(found[3] or 0)
local led, mine = until_time > now, found[1] == holder
local wanted = tonumber(found[4] or 0) > now - lease

if led and not mine then
  if wish == 'take' then redis.call('HSET', keeper, 'wanted', now) end
  return {'following'}
end
if led and (wish == 'yield' or (wish == 'spare' and wanted)) then
  redis.call('HSET', keeper, 'until', now)
  return {'following'}
end
if not led then
  local too_soon = wish == 'spare' and found[1] and now < until_time + lease
  if wish == 'yield' or too_soon then return {'following'} end
  epoch = epoch + 1
end
redis.call('HSET', keeper, 'holder', holder, 'until', now + lease, 'epoch', epoch)
if wanted then redis.call('HDEL', keeper, 'wanted') end
return {'leading', epoch}
