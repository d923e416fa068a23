-- What concerns the workers and all sessions together, atomically.  KEYS[1]: what the names of
-- these keys begin with; all of them are in one slot.  ARGV: the operation and what it needs.
--
-- In front of this text stand the settings: LEASE, MAILBOX, SESSIONS, UNUSED, IDLE, ABSOLUTE,
-- SLACK.
local base, op = KEYS[1], ARGV[1]
local workers = base .. 'workers' -- sorted set: names, by the end of the lease
local gone = base .. 'gone' -- sorted set: names of those silent, by when they are forgotten
local sessions = base .. 'sessions' -- sorted set: ids, by last use; below zero: by creation, unused
local all = base .. 'all' -- stream: notes to everybody
local secret = base .. 'secret'
local FAR = 1e12
local LONG = math.ceil(2 * ABSOLUTE * 1000)
local MAIL = math.ceil(6 * LEASE * 1000)

local function inbox(worker) -- stream: notes to one
  return base .. 'inbox:' .. worker
end

local function held(worker) -- sorted set: sessions in which the worker has streams, by time
  return base .. 'held:' .. worker
end

local function score(value)
  return string.format('%.17g', value)
end

local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] + time[2] / 1e6
end

local function known(worker)
  return redis.call('ZSCORE', workers, worker) or redis.call('ZSCORE', gone, worker)
end

-- The order of all notes: that of two streams within a millisecond cannot be told from their ids.
local function turn()
  local number = redis.call('INCR', base .. 'turn')
  redis.call('PEXPIRE', base .. 'turn', LONG)
  return number
end

local function deliver(worker, text)
  redis.call('XADD', inbox(worker), '*', 'n', text, 't', turn())
  redis.call('PEXPIRE', inbox(worker), MAIL)
end

local ops = {}

function ops.secret() -- a new one, or the one that was known
  redis.call('SET', secret, ARGV[2], 'NX', 'PX', LONG)
  return redis.call('GET', secret)
end

function ops.renew() -- worker, time, secret
  local worker, now = ARGV[2], clock(ARGV[3])
  redis.call('ZADD', workers, score(now + LEASE), worker)
  redis.call('ZREM', gone, worker)
  redis.call('ZREMRANGEBYSCORE', gone, '-inf', score(now))
  if ARGV[4] ~= '' then
    redis.call('SET', secret, ARGV[4], 'NX')
  end
  for _, key in ipairs({workers, gone, sessions, secret, held(worker)}) do
    redis.call('PEXPIRE', key, LONG)
  end
  redis.call('PEXPIRE', inbox(worker), MAIL)
  local newest = redis.call('XREVRANGE', all, '+', '-', 'COUNT', 1)[1]
  local expired = redis.call('ZRANGEBYSCORE', workers, '-inf', score(now))
  return {newest and newest[1] or '0-0', redis.call('ZRANGE', gone, 0, -1), expired}
end

function ops.buried() -- worker, time
  local ends = redis.call('ZSCORE', workers, ARGV[2])
  if ends and tonumber(ends) <= clock(ARGV[3]) then
    redis.call('ZREM', workers, ARGV[2])
    redis.call('ZADD', gone, score(ends + 6 * LEASE), ARGV[2])
    redis.call('PEXPIRE', gone, LONG)
    redis.call('PEXPIRE', held(ARGV[2]), math.ceil(IDLE * 1000) + SLACK)
  end
  return 0
end

function ops.leave() -- worker
  redis.call('ZREM', workers, ARGV[2])
  redis.call('ZREM', gone, ARGV[2])
  redis.call('UNLINK', inbox(ARGV[2]))
  -- wakes whoever still waits there
  redis.call('XADD', inbox(ARGV[2]), '*', 'left', '')
  redis.call('PEXPIRE', inbox(ARGV[2]), SLACK)
  return 0
end

function ops.post() -- worker, note
  local worker = ARGV[2]
  if not known(worker) then
    return 0
  end
  if redis.call('XLEN', inbox(worker)) >= MAILBOX then
    return redis.error_reply('GONE the mailbox of worker ' .. worker .. ' is full')
  end
  deliver(worker, ARGV[3])
  return 0
end

function ops.announce() -- from worker, note
  redis.call('XADD', all, 'MAXLEN', '~', MAILBOX, '*', 'f', ARGV[2], 'n', ARGV[3], 't', turn())
  redis.call('PEXPIRE', all, MAIL)
  return 0
end

function ops.tell() -- worker, note, worker, note, ...
  for index = 2, #ARGV, 2 do
    if known(ARGV[index]) then
      deliver(ARGV[index], ARGV[index + 1])
    end
  end
  return 0
end

function ops.admit() -- session, time of its creation, wall clock
  local wall = tonumber(ARGV[4])
  redis.call('ZREMRANGEBYSCORE', sessions, 0, score(wall - IDLE))
  redis.call('ZREMRANGEBYSCORE', sessions, '-inf', score(wall - math.min(UNUSED, IDLE) - FAR))
  redis.call('ZADD', sessions, score(ARGV[3] - FAR), ARGV[2])
  redis.call('PEXPIRE', sessions, LONG)
  local victims = {}
  while redis.call('ZCARD', sessions) > SESSIONS do
    local first = redis.call('ZRANGE', sessions, 0, 1)
    local victim = first[1] == ARGV[2] and first[2] or first[1]
    redis.call('ZREM', sessions, victim)
    victims[#victims + 1] = victim
  end
  return victims
end

return ops[op]()
