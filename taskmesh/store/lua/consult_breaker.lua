#!lua flags=allow-oom
-- Tells a breaker what became of the nodes behind it, asks for the permission to try it, or just looks at it.
-- It follows the rules of pybreaker; what comes while it is not closed says nothing, unless it is the probe's.
-- One probe at a time may try an open breaker, in all processes together; a permission that is not renewed is over.
-- KEYS  1 breaker (hash: state, failures in a row, window, try_at, probe, probe_until, rules, opens, since)
--       2 number of the last report of this reporter
-- ARGV  1 now  2 number of this report ('' = it has no outcomes)  3 outcomes in their order: s = succeeded, f = failed
--       4 probe that wants a permission, has one, or has ended ('' = none)  5 how long a permission lasts, in seconds
--       6 end of that probe: s | f | n (it says nothing; another may try at once) | '' (none yet)
--       7 rules: failures, rate (0 = only failures in a row count), window in seconds, least calls, reset in seconds, ...
-- Returns {closed | open | half_open, ms until it may be tried, 1 = that probe may try, 1 = this call has opened it}.
local breaker, last_report = KEYS[1], KEYS[2]
local now, number, outcomes, probe, lease = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local verdict, rules = ARGV[6], cmsgpack.unpack(ARGV[7])
local most_failures, rate, least_calls, reset = rules[1], rules[2], rules[4], rules[5]
local BUCKETS = 10
local bucket_seconds, REPORT_KEPT_MS = rules[3] / BUCKETS, 3600000

local found = redis.call('HMGET', breaker, 'state', 'failures', 'window', 'try_at', 'probe', 'probe_until', 'rules')
local seen = tonumber(redis.call('GET', last_report) or 0)
local state, failures, try_at = found[1] or 'closed', tonumber(found[2] or 0), tonumber(found[4] or 0)
local holder, held_until = found[5] or '', tonumber(found[6] or 0)
-- Flat: number of the bucket, how many succeeded, how many failed; at most BUCKETS of them, the oldest first.
local window = unpacked(found[3]) or {}
local changed, opened, granted, is_new = found[7] ~= ARGV[7], 0, 0, number ~= '' and tonumber(number) > seen

local function become(next_state)
  state, failures, window, holder, changed = next_state, 0, {}, '', true
end

local function open()
  become('open')
  try_at, opened = now + reset, 1
end

local function count_in_window(failed)
  local bucket = math.floor(now / bucket_seconds)
  while window[1] and window[1] <= bucket - BUCKETS do
    for _ = 1, 3 do table.remove(window, 1) end
  end
  if window[#window - 2] ~= bucket then
    for _, value in ipairs({bucket, 0, 0}) do window[#window + 1] = value end
  end
  local place = failed and #window or #window - 1
  window[place] = window[place] + 1
  local calls, bad = 0, 0
  for at = 1, #window, 3 do
    calls, bad = calls + window[at + 1] + window[at + 2], bad + window[at + 2]
  end
  return failed and calls >= least_calls and bad >= rate * calls
end

local function count(failed)
  changed, failures = true, failed and failures + 1 or 0
  if rate > 0 then return count_in_window(failed) end
  return failures >= most_failures
end

if is_new then
  for at = 1, #outcomes do
    if state == 'closed' and count(outcomes:sub(at, at) == 'f') then open() end
  end
end
if verdict ~= '' and state == 'half_open' and holder == probe then
  if verdict == 's' then become('closed') elseif verdict == 'f' then open() else become('open') end
elseif verdict == '' and probe ~= '' then
  local free = state == 'open' and now >= try_at
  if free or (state == 'half_open' and (holder == probe or now >= held_until)) then
    become('half_open')
    holder, held_until, granted = probe, now + lease, 1
  end
end

if is_new then redis.call('SET', last_report, number, 'PX', REPORT_KEPT_MS) end
if changed then
  if state ~= (found[1] or 'closed') then redis.call('HSET', breaker, 'since', now) end
  if opened == 1 then redis.call('HINCRBY', breaker, 'opens', 1) end
  redis.call('HSET', breaker, 'state', state, 'failures', failures, 'window', cmsgpack.pack(window), 'try_at', try_at,
    'probe', holder, 'probe_until', held_until, 'rules', ARGV[7])
end
local free_at = state == 'open' and try_at or state == 'half_open' and held_until or now
return {state, math.ceil(math.max(0, free_at - now) * 1000), granted, opened}
