#!lua
-- Keeps a flow as the next version of its name; or says which version has this content. Repeated: that one.
-- KEYS  1 flow (hash)  2 body of the version (hash: body)
-- ARGV  1 now  2 hash of the body  3 body  4 by whom  5 message  6 '1' = a draft  7 its own word for its version  8 nodes
-- Returns {'pushed', number} | {'same', number}.
-- A registered flow is a hash:
--   latest, active    numbers of versions; active is absent while none is
--   trail             numbers of those that were active before, the last one last, a msgpack array (TRAIL_KEPT)
--   NUMBER            a version, a msgpack array: hash, at, by whom, message, its own word for its version, nodes
--   hash:HASH         the number of the version with this body
--   draft:NUMBER, archived:NUMBER   there while it is one
--   history, history:N              what was done, as of a run: kind, at, number, active before, by, why
local flow, body, now, hash = KEYS[1], KEYS[2], read_clock(ARGV[1]), ARGV[2]

local known = redis.call('HMGET', flow, 'hash:' .. hash, 'latest')
if known[1] then return {'same', tonumber(known[1])} end
redis.call('HLEN', body)

local number = tonumber(known[2] or 0) + 1
change('latest', number)
change(number, cmsgpack.pack({hash, now, ARGV[4], ARGV[5], ARGV[7], tonumber(ARGV[8])}))
change('hash:' .. hash, number)
if ARGV[6] == '1' then change('draft:' .. number, 1) end
remember(flow, 'push', now, number, 0, ARGV[4], ARGV[5])
redis.call('HSET', body, 'body', ARGV[3])
write(flow)
return {'pushed', number}
