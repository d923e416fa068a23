-- What concerns the workers and all sessions together, atomically.  KEYS[1]: what the names of
-- these keys begin with; all of them are in one slot.  ARGV: the operation and what it needs.
--
-- In front of this text stand the settings: LEASE, MAILBOX, SESSIONS, SESSIONS_PER_CLIENT, UNUSED,
-- IDLE, ABSOLUTE, SLACK, ANNOUNCEMENTS, QUEUE_BYTES, PROOFS, PROOFS_PER_PRINCIPAL,
-- TASKS, TASKS_PER_OWNER, TASK_BYTES, TASK_END, TASK_PAGE, NOTE_BYTES.
local base, op = KEYS[1], ARGV[1]
local workers = base .. 'workers' -- sorted set: names, by the end of the lease
local gone = base .. 'gone' -- sorted set: names of those silent, by when they are forgotten
local sessions = base .. 'sessions' -- sorted set: ids, in the order in which they go (see place)
local born = base .. 'born' -- sorted set: the same ids, by creation
local owners = base .. 'owners' -- hash: the same ids, whose share each takes
local all = base .. 'all' -- stream: notes to everybody
local said = base .. 'said' -- the bytes of all notes to everybody, up to the last
local news = base .. 'news' -- hash: topic -> announcement, packed
local topics = base .. 'topics' -- sorted set: the same topics, by their order
local proofs = base .. 'proofs' -- sorted set: digests of DPoP proofs that were used, by their ends
local tasks = base .. 'tasks' -- sorted set: ids of tasks, by when they are removed
local sizes = base .. 'sizes' -- hash: the same ids -> bytes:owner, and '' -> bytes of all tasks
local numbers = base .. 'numbers' -- the number of the last task
local secret = base .. 'secret'
local generation = base .. 'generation' -- made when there was nothing
local FAR = 1e12
local LONG = math.ceil(2 * ABSOLUTE * 1000)
local MAIL = math.ceil(6 * LEASE * 1000)
local HELD = math.ceil(IDLE * 1000) + SLACK

local function inbox(worker) -- stream: notes to one
  return base .. 'inbox:' .. worker
end

local function held(worker) -- sorted set: sessions in which the worker has streams, by time
  return base .. 'held:' .. worker
end

local function share(owner) -- sorted set: the sessions of one owner, as in sessions
  return base .. 'of:' .. owner
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

-- Sessions.  Only what is here counts when there are too many.

-- Where a session stands: those of grade 0 by their creation, before all others; those of grade 1
-- by when they were last heard of; behind them those of grade 2, likewise.
local function place(grade, time)
  return score(time - (2 - grade) * FAR)
end

local function grade_of(position)
  position = tonumber(position)
  return position >= 0 and 2 or position >= -1.5 * FAR and 1 or 0
end

local function forget(session)
  local owner = redis.call('HGET', owners, session)
  redis.call('ZREM', sessions, session)
  redis.call('ZREM', born, session)
  redis.call('HDEL', owners, session)
  if owner then
    redis.call('ZREM', share(owner), session)
  end
end

local function over(session, wall)
  local created, used = redis.call('ZSCORE', born, session), redis.call('ZSCORE', sessions, session)
  if not (created and used) then
    return true
  end
  local grade = grade_of(used)
  if grade == 0 then
    return wall >= created + math.min(UNUSED, IDLE, ABSOLUTE)
  end
  return wall >= math.min(used + (2 - grade) * FAR + IDLE, created + ABSOLUTE)
end

local function forget_those_over(wall)
  -- FAR takes away digits: look closer
  local unused = redis.call('ZRANGEBYSCORE', sessions, '-inf',
    place(0, wall - math.min(UNUSED, IDLE, ABSOLUTE) + 1))
  local agreed = redis.call('ZRANGEBYSCORE', sessions, place(1, 0), place(1, wall - IDLE + 1))
  local idle = redis.call('ZRANGEBYSCORE', sessions, 0, score(wall - IDLE))
  local old = redis.call('ZRANGEBYSCORE', born, '-inf', score(wall - ABSOLUTE))
  for _, found in ipairs({unused, agreed, idle, old}) do
    for _, session in ipairs(found) do
      if over(session, wall) then
        forget(session)
      end
    end
  end
end

local function goes(session, owner, created, victims)
  victims[#victims + 1] = session
  victims[#victims + 1] = owner or ''
  victims[#victims + 1] = created or '0'
end

-- Takes sessions out of a sorted set until one more fits below the limit, but not the one kept;
-- returns whether it fits.
local function make_room(set, limit, kept, victims)
  while redis.call('ZCARD', set) >= math.max(1, limit) do
    local victim, other = unpack(redis.call('ZRANGE', set, 0, 1))
    if victim == kept then
      victim = other
    end
    if not victim then
      return false
    end
    goes(victim, redis.call('HGET', owners, victim), redis.call('ZSCORE', born, victim), victims)
    forget(victim)
    redis.call('ZREM', set, victim) -- also if its owner is not known any more
  end
  return true
end

-- Tasks

local function task(id) -- hash: number, worker, ended, task
  return base .. 'task:' .. id
end

local function followers(id) -- set: names of the workers to be told of the next change of a task
  return base .. 'followers:' .. id
end

local function tasks_of(owner) -- sorted set: ids of the tasks of one owner, by their numbers
  return base .. 'tasks:' .. owner
end

local function live_on(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

local function size_of(id)
  local size, owner = string.match(redis.call('HGET', sizes, id) or '', '^(%d+):(.*)$')
  return tonumber(size or 0), owner or ''
end

local function remove_tasks(wall)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tasks, '-inf', wall)) do
    local size, owner = size_of(id)
    redis.call('HINCRBY', sizes, '', 0 - size)
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', tasks_of(owner), id)
    redis.call('UNLINK', task(id), followers(id))
    redis.call('ZREM', tasks, id)
  end
end

local function stored_task(id) -- nil if it is not there
  local number, worker, text = unpack(redis.call('HMGET', task(id), 'number', 'worker', 'task'))
  if not number then
    return nil
  end
  return {tonumber(number), worker, redis.call('ZSCORE', workers, worker) and 0 or 1, text}
end

local ops = {}

-- Worker, id, owner, 1 if it has ended, when it is removed, 1 if it is new, wall clock, task,
-- note for followers; 1: written, 0: it has ended or is not there, nil: no room.
function ops.save_task()
  local worker, id, owner, ended = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  local expires, new, wall, text = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8]), ARGV[9]
  remove_tasks(wall)
  local before = redis.call('HGET', task(id), 'ended')
  if new ~= not before or before == '1' then
    return 0
  end
  local grown = #text - size_of(id)
  if (redis.call('HGET', sizes, '') or 0) + grown > TASK_BYTES
    and not (ended == '1' and grown <= TASK_END) then
    return false
  end
  if new then
    if redis.call('ZCARD', tasks) >= TASKS
      or owner ~= '' and redis.call('ZCARD', tasks_of(owner)) >= TASKS_PER_OWNER then
      return false
    end
    local number = redis.call('INCR', numbers)
    redis.call('HSET', task(id), 'number', number, 'worker', worker)
    if owner ~= '' then
      redis.call('ZADD', tasks_of(owner), number, id)
    end
  end
  redis.call('HSET', task(id), 'ended', ended, 'task', text)
  redis.call('HSET', sizes, id, #text .. ':' .. owner)
  redis.call('HINCRBY', sizes, '', grown)
  if expires == math.huge then
    expires = wall + LONG / 1000 -- else it would count for ever, which no key does
  end
  redis.call('ZADD', tasks, score(expires), id)
  local left = math.ceil(math.max(expires - wall, 0) * 1000) + SLACK
  live_on(task(id), left)
  for _, key in ipairs({tasks, sizes, numbers, tasks_of(owner)}) do
    live_on(key, math.max(left, LONG))
  end
  for _, follower in ipairs(redis.call('SMEMBERS', followers(id))) do
    if known(follower) then
      deliver(follower, ARGV[10])
    end
  end
  redis.call('UNLINK', followers(id))
  return 1
end

function ops.load_task() -- id, wall clock, the worker that follows it or ''
  remove_tasks(tonumber(ARGV[3]))
  local found = stored_task(ARGV[2])
  if found and ARGV[4] ~= '' then
    redis.call('SADD', followers(ARGV[2]), ARGV[4])
    redis.call('PEXPIRE', followers(ARGV[2]), redis.call('PTTL', task(ARGV[2])))
  end
  return found or false
end

function ops.list_tasks() -- owner, after this number, how many, wall clock
  remove_tasks(tonumber(ARGV[5]))
  local found, bytes = {}, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tasks_of(ARGV[2]), '(' .. ARGV[3], '+inf')) do
    bytes = bytes + size_of(id)
    if #found == tonumber(ARGV[4]) or #found > 0 and bytes > TASK_PAGE then
      break
    end
    found[#found + 1] = stored_task(id)
  end
  return found
end

function ops.secret() -- a new one, or the one that was known
  redis.call('SET', secret, ARGV[2], 'NX', 'PX', LONG)
  return redis.call('GET', secret)
end

-- Digest of a proof, its party, its end, wall clock; 1: its first use, 0: not, nil: no room.
function ops.use()
  local own = base .. 'proofs:' .. ARGV[3] -- sorted set: those of the party, as in proofs
  for _, set in ipairs({proofs, own}) do
    redis.call('ZREMRANGEBYSCORE', set, '-inf', '(' .. ARGV[5])
  end
  if redis.call('ZSCORE', proofs, ARGV[2]) then
    return 0
  end
  if redis.call('ZCARD', proofs) >= PROOFS or redis.call('ZCARD', own) >= PROOFS_PER_PRINCIPAL then
    return false
  end
  local left = math.ceil((ARGV[4] - ARGV[5]) * 1000) + SLACK
  for _, set in ipairs({proofs, own}) do
    redis.call('ZADD', set, ARGV[4], ARGV[2])
    if redis.call('PTTL', set) < left then
      redis.call('PEXPIRE', set, left)
    end
  end
  return 1
end

function ops.renew() -- worker, time, secret, a name for the generation that begins
  local worker, now = ARGV[2], clock(ARGV[3])
  local ends = redis.call('ZSCORE', workers, worker)
  if ends and tonumber(ends) <= now then
    -- Redis was out of reach for others, too: nobody is missed until they have had time to return.
    for _, silent in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', score(now))) do
      redis.call('ZADD', workers, score(now + LEASE), silent)
    end
  end
  -- later ends are of a clock that was set back, or of another server's
  for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. score(now + LEASE), '+inf')) do
    redis.call('ZADD', workers, score(now + LEASE), ahead)
  end
  redis.call('ZADD', workers, score(now + LEASE), worker)
  redis.call('ZREM', gone, worker)
  redis.call('ZREMRANGEBYSCORE', gone, '-inf', score(now))
  if ARGV[4] ~= '' then
    redis.call('SET', secret, ARGV[4], 'NX')
  end
  redis.call('SET', generation, ARGV[5], 'NX')
  for _, key in ipairs({workers, gone, sessions, born, owners, secret, generation, held(worker)}) do
    redis.call('PEXPIRE', key, LONG)
  end
  redis.call('PEXPIRE', inbox(worker), MAIL)
  local newest = redis.call('XREVRANGE', all, '+', '-', 'COUNT', 1)[1]
  local expired = redis.call('ZRANGEBYSCORE', workers, '-inf', score(now))
  return {newest and newest[1] or '0-0', redis.call('ZRANGE', gone, 0, -1), expired,
    redis.call('GET', generation)}
end

function ops.buried() -- worker, time
  local ends = redis.call('ZSCORE', workers, ARGV[2])
  if ends and tonumber(ends) <= clock(ARGV[3]) then
    redis.call('ZREM', workers, ARGV[2])
    if tonumber(ends) > -math.huge then -- those that have left are not missed
      redis.call('ZADD', gone, score(ends + 6 * LEASE), ARGV[2])
      redis.call('PEXPIRE', gone, LONG)
    end
    redis.call('PEXPIRE', held(ARGV[2]), HELD)
  end
  return 0
end

function ops.leave() -- worker; it is to be buried, by others if it does not come to that
  redis.call('ZADD', workers, 'XX', '-inf', ARGV[2])
  redis.call('ZREM', gone, ARGV[2])
  redis.call('PEXPIRE', held(ARGV[2]), HELD) -- a step under way may still make it a writer again
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

function ops.post_all() -- from worker, note
  local bytes = redis.call('INCRBY', said, #ARGV[3])
  redis.call('XADD', all, 'MAXLEN', '~', MAILBOX, '*', 'f', ARGV[2], 'n', ARGV[3], 't', turn(),
    'b', bytes)
  local oldest = redis.call('XRANGE', all, '-', '+', 'COUNT', 1)[1]
  while bytes - (oldest[2][8] or bytes) > NOTE_BYTES do
    redis.call('XDEL', all, oldest[1])
    oldest = redis.call('XRANGE', all, '-', '+', 'COUNT', 1)[1]
  end
  redis.call('PEXPIRE', all, MAIL)
  redis.call('PEXPIRE', said, MAIL)
  return 0
end

-- Gives up what is too much or too old, and returns what is left, in order.
local function announced(wall)
  local found, size, kept = {}, 0, {}
  local known = redis.call('HGETALL', news)
  for index = 1, #known, 2 do
    kept[known[index]] = known[index + 1]
  end
  for _, topic in ipairs(redis.call('ZRANGE', topics, 0, -1)) do
    local packed = kept[topic]
    local each = packed and cmsgpack.unpack(packed) or {at = 0, note = ''}
    each.topic = topic
    found[#found + 1] = each
    size = size + #each.note
  end
  local left = {}
  for index, each in ipairs(found) do
    if #left > 0
      or #found - index < ANNOUNCEMENTS and size <= QUEUE_BYTES and wall < each.at + IDLE then
      left[#left + 1] = each
    else
      redis.call('HDEL', news, each.topic)
      redis.call('ZREM', topics, each.topic)
      size = size - #each.note
    end
  end
  return left
end

function ops.announce() -- from worker, note, topic, wall clock
  ops.post_all()
  redis.call('HSET', news, ARGV[4], cmsgpack.pack({at = ARGV[5], note = ARGV[3]}))
  redis.call('ZADD', topics, turn(), ARGV[4])
  redis.call('PEXPIRE', news, HELD)
  redis.call('PEXPIRE', topics, HELD)
  announced(tonumber(ARGV[5]))
  return 0
end

function ops.announcements() -- since, wall clock
  local notes = {}
  for _, each in ipairs(announced(tonumber(ARGV[3]))) do
    if tonumber(each.at) >= tonumber(ARGV[2]) then
      notes[#notes + 1] = each.note
    end
  end
  return notes
end

function ops.tell() -- worker, note, worker, note, ...
  for index = 2, #ARGV, 2 do
    if known(ARGV[index]) then
      deliver(ARGV[index], ARGV[index + 1])
    end
  end
  return 0
end

-- Returns those that go: session, owner, time of its creation, ...
-- Takes session, owner, time of its creation, wall clock, grade; and for one that comes back behind
-- all others, as it is at work, the one of its owner's and the one of all that do not go for it.
function ops.admit()
  local session, owner, created, wall = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
  local grade, back, victims = tonumber(ARGV[6]), ARGV[7] ~= nil, {}
  local position = place(grade, grade == 0 and created or wall)
  forget(session)
  forget_those_over(wall)
  if not (make_room(share(owner), SESSIONS_PER_CLIENT, ARGV[7], victims)
      and make_room(sessions, SESSIONS, ARGV[8], victims)) then
    goes(session, owner, created, victims)
    return victims
  end
  if back then
    local newest = redis.call('ZRANGE', sessions, -1, -1, 'WITHSCORES')[2]
    position = score(math.max(wall, (newest or 0) + 0.001))
  end
  redis.call('ZADD', sessions, position, session)
  redis.call('ZADD', share(owner), position, session)
  redis.call('ZADD', born, created, session)
  redis.call('HSET', owners, session, owner)
  for _, key in ipairs({sessions, share(owner), born, owners}) do
    redis.call('PEXPIRE', key, LONG)
  end
  return victims
end

function ops.used() -- wall clock, the least grade that it makes, session, session, ...
  local wall, least = tonumber(ARGV[2]), tonumber(ARGV[3])
  for index = 4, #ARGV do
    local session = ARGV[index]
    local owner = redis.call('HGET', owners, session)
    if owner and over(session, wall) then
      forget(session)
    elseif owner then
      local grade = math.max(least, grade_of(redis.call('ZSCORE', sessions, session)))
      redis.call('ZADD', sessions, 'XX', 'GT', place(grade, wall), session)
      redis.call('ZADD', share(owner), 'XX', 'GT', place(grade, wall), session)
      redis.call('PEXPIRE', share(owner), LONG)
    end
  end
  return 0
end

function ops.deleted() -- session, session, ...
  for index = 2, #ARGV do
    forget(ARGV[index])
  end
  return 0
end

return ops[op]()
