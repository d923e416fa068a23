-- Rate limits of one caller by the generic cell rate algorithm, atomically.  KEYS[1]: what the
-- names of the caller's keys begin with; all of them are in one slot.  ARGV: the operation, which
-- is always 'take', then for each limit its name, the seconds between two units, the units of a
-- burst and the units wanted at most.  Returns for each limit the seconds to wait, as a string, and
-- the units taken: of all limits at least one, or of none.
--
-- A key holds the time at which the limit will be full again, by the clock of this server.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local reply, refused = {}, false

local function full(name, interval, burst)
  local known = tonumber(redis.call('GET', KEYS[1] .. name) or now)
  return math.min(math.max(known, now), now + interval * burst) -- else the clock was set back
end

for i = 2, #ARGV, 4 do
  local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local wait = full(ARGV[i], interval, burst) - now - interval * (burst - 1)
  if wait > interval * 1e-6 then -- less is a rounding error
    refused = true
  else
    wait = 0
  end
  reply[#reply + 1] = string.format('%.17g', wait)
  reply[#reply + 1] = 0
end
if refused then
  return reply
end
for i = 2, #ARGV, 4 do
  local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local before = full(ARGV[i], interval, burst)
  local room = math.floor(burst - (before - now) / interval + 1e-6)
  local units = math.max(1, math.min(room, tonumber(ARGV[i + 3])))
  local after = before + units * interval
  local life = math.min(math.ceil((after - now) * 1000) + SLACK, 1e15)
  redis.call('SET', KEYS[1] .. ARGV[i], string.format('%.17g', after), 'PX', life)
  reply[i / 2 + 1] = units
end
return reply
