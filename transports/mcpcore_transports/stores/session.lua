-- One step on one session, atomically.  KEYS[1]: what the names of all keys of the session begin
-- with; all of them are in one slot.  ARGV: the operation, the wall clock, the worker that asks,
-- and what the operation needs.
-- Returns {outcome, notes}: notes is a flat list of worker, kind ("wake" or "moved") and stream.
--
-- In front of this text stand the settings: AGE, EVENTS, EVENT_BYTES, STREAMS, QUEUE_BYTES, ONCE,
-- UNUSED, IDLE, ABSOLUTE, SLACK, STREAMS_PART.  Numbers of streams and times are kept as the
-- strings that came: as numbers of Lua they would lose digits.
local base, op, wall_text, me = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local wall = tonumber(wall_text)
local facts = base .. 's' -- hash: the record, its times and counts
local streams = base .. 't' -- hash: number -> stream, packed
local open = base .. 'g' -- sorted set: GET streams with a connection, by rank
local order = base .. 'o' -- list: events of all streams, oldest first, without their data
local queue = base .. 'q' -- list: messages, "r" (request) or "n" before each
local once = base .. 'u' -- sorted set: announcements, by their order
local calls = base .. 'c' -- hash: worker -> how many requests it may work on
local notes = {}

local function log(number) -- stream: the events of one stream, ids are positions
  return base .. 'l:' .. number
end

local function note(worker, kind, number)
  notes[#notes + 1] = worker
  notes[#notes + 1] = kind
  notes[#notes + 1] = number
end

local function fact(name)
  return tonumber(redis.call('HGET', facts, name) or 0)
end

local function count(name, by)
  return redis.call('HINCRBY', facts, name, by + 0) -- makes zero of minus zero
end

-- Sessions

local function remove()
  for _, number in ipairs(redis.call('HKEYS', streams)) do
    redis.call('UNLINK', log(number))
  end
  redis.call('UNLINK', facts, streams, open, order, queue, once, calls)
end

local function ends()
  local created, used = unpack(redis.call('HMGET', facts, 'created', 'used'))
  if not created then
    return nil
  end
  if used then
    return math.min(used + IDLE, created + ABSOLUTE)
  end
  return created + math.min(UNUSED, IDLE, ABSOLUTE)
end

local function lives()
  local over = ends()
  if over and wall >= over then
    remove()
    return false
  end
  return over ~= nil
end

local function expire_keys()
  -- a little later than the session ends, so that clocks may differ
  local left = math.ceil((ends() - wall) * 1000) + SLACK
  for _, key in ipairs({facts, streams, open, queue, once, calls}) do
    redis.call('PEXPIRE', key, left)
  end
end

local function use()
  local used = redis.call('HGET', facts, 'used')
  if not used or tonumber(used) < wall then
    redis.call('HSET', facts, 'used', wall_text)
  end
  expire_keys()
end

-- Streams

local function save(number, stream)
  redis.call('HSET', streams, number, cmsgpack.pack(stream))
end

local function fetch(number)
  local packed = redis.call('HGET', streams, number)
  return packed and cmsgpack.unpack(packed)
end

local function idle(stream)
  return stream.ended or stream.orphaned or (not stream.request and not stream.holder)
end

local function outlived(stream)
  return idle(stream) and stream.last == stream.lost and wall >= stream.time + AGE
end

local function forget(number, stream)
  local size, kept = 0, 0
  for _, event in ipairs(redis.call('XRANGE', log(number), '-', '+')) do
    size, kept = size + #event[2][2], kept + 1
  end
  count('kept', -kept)
  count('size', -size)
  redis.call('UNLINK', log(number))
  redis.call('HDEL', streams, number)
  redis.call('ZREM', open, number)
end

-- The oldest event; skips what was forgotten with its stream.
local function oldest()
  while true do
    local packed = redis.call('LINDEX', order, 0)
    if not packed then
      redis.call('HSET', facts, 'kept', 0, 'size', 0)
      return nil
    end
    local event = cmsgpack.unpack(packed)
    local stream = fetch(event.number)
    if stream and stream.born == event.born and event.place > stream.lost then
      return event, stream
    end
    redis.call('LPOP', order)
  end
end

local function evict(event, stream)
  redis.call('LPOP', order)
  redis.call('XTRIM', log(event.number), 'MINID', '=', (event.place + 1) .. '-0')
  stream.lost = event.place
  save(event.number, stream)
  count('kept', -1)
  count('size', -event.size)
end

local function expire()
  local event, stream = oldest()
  while event and wall >= event.time + AGE do
    evict(event, stream)
    event, stream = oldest()
  end
end

local function find(number)
  expire()
  local stream = fetch(number)
  if stream and stream.last > stream.lost and redis.call('EXISTS', log(number)) == 0 then
    stream.lost = stream.last -- Redis has found them too old before us
  end
  if stream and outlived(stream) then
    forget(number, stream)
    return nil
  end
  return stream
end

-- Adds an event.  Leaves the stream saved; what the caller holds of it is brought up to date.
local function keep(number, stream, data)
  stream.last = stream.last + 1
  save(number, stream)
  redis.call('XADD', log(number), stream.last .. '-0', 'd', data)
  redis.call('RPUSH', order, cmsgpack.pack({
    number = number, born = stream.born, place = stream.last, size = #data, time = wall_text}))
  local life = math.ceil(AGE * 1000) + SLACK
  redis.call('PEXPIRE', log(number), life)
  redis.call('PEXPIRE', order, life)
  local kept, size = count('kept', 1), count('size', #data)
  while kept > 1 and (kept > EVENTS or size > EVENT_BYTES) do
    local event, of = oldest()
    if not event then
      break
    end
    evict(event, of)
    kept, size = kept - 1, size - event.size
  end
  stream.lost = fetch(number).lost
end

local function compact()
  local kept = fact('kept')
  if redis.call('LLEN', order) <= 64 + 4 * kept then
    return
  end
  local living = {}
  for _, packed in ipairs(redis.call('LRANGE', order, 0, -1)) do
    local event = cmsgpack.unpack(packed)
    local stream = fetch(event.number)
    if stream and stream.born == event.born and event.place > stream.lost then
      living[#living + 1] = packed
    end
  end
  local left = redis.call('PTTL', order)
  redis.call('DEL', order)
  for _, packed in ipairs(living) do
    redis.call('RPUSH', order, packed)
  end
  redis.call('PEXPIRE', order, left)
end

-- Forgets the idle streams that are too old, and the oldest of the others up to a part of all: to
-- look through thousands takes long, and is not to be done for each new one.
local function make_room()
  local known, idlers, gone = redis.call('HGETALL', streams), {}, 0
  for index = 1, #known, 2 do
    local number, stream = known[index], cmsgpack.unpack(known[index + 1])
    if outlived(stream) then
      forget(number, stream)
      gone = gone + 1
    elseif idle(stream) then
      idlers[#idlers + 1] = {number = number, stream = stream}
    end
  end
  table.sort(idlers, function(one, other)
    return one.stream.born < other.stream.born
  end)
  for index = 1, math.min(#idlers, math.max(1, math.floor(STREAMS / STREAMS_PART)) - gone) do
    forget(idlers[index].number, idlers[index].stream)
    gone = gone + 1
  end
  compact()
  return gone > 0
end

-- Readers and the carrier.  Who waits is marked with WAITS; who was woken, with the worker that had
-- to pass the note on, until he reads again: should the note be lost with that worker, it can be
-- made once more.
local WAITS = ''

local function wake_readers(number, stream)
  for worker, told in pairs(stream.readers) do
    if told == WAITS then
      stream.readers[worker] = me
      note(worker, 'wake', number)
    end
  end
end

local function wake_carrier()
  if redis.call('EXISTS', queue) == 0 then
    return
  end
  local number = redis.call('ZREVRANGE', open, 0, 0)[1]
  local stream = number and fetch(number)
  if stream and stream.armed == WAITS then
    stream.armed = me
    save(number, stream)
    note(stream.holder, 'wake', number)
  end
end

local function let_go(number, stream)
  stream.readers[stream.holder] = nil
  stream.holder = nil
  stream.armed = nil
  redis.call('ZREM', open, number)
end

-- Whether so many GET streams have a connection.
local function full(limit)
  limit = tonumber(limit)
  return limit > 0 and redis.call('ZCARD', open) >= limit
end

local function page(stream, entries)
  return {stream.lost, stream.last, stream.ended and 1 or 0, stream.orphaned and 1 or 0,
    stream.request and 1 or 0, stream.request or '', entries, fact('version')}
end

-- Whether a GET stream has a connection, or a request is being worked on.
local function busy()
  if redis.call('ZCARD', open) > 0 or redis.call('HLEN', calls) > 0 then
    return true
  end
  for _, packed in ipairs(redis.call('HVALS', streams)) do
    if not idle(cmsgpack.unpack(packed)) then
      return true
    end
  end
  return false
end

local ops = {}

-- Returns 0 if that was done, 1 if it made a session, -1 without one, or the record that stays.
function ops.save() -- record, version, created
  if lives() then
    use()
    if tonumber(ARGV[5]) <= fact('version') then
      return redis.call('HGET', facts, 'record')
    end
    redis.call('HSET', facts, 'record', ARGV[4], 'version', ARGV[5])
    return 0
  end
  if tonumber(ARGV[5]) > 1 then
    return -1
  end
  remove()
  local created = tonumber(ARGV[6]) < wall and wall_text or ARGV[6] -- see begun() in base.py
  redis.call('HSET', facts, 'record', ARGV[4], 'version', ARGV[5], 'created', created)
  expire_keys()
  return 1
end

function ops.load()
  if not lives() then
    return ''
  end
  local used = redis.call('HGET', facts, 'used')
  use()
  return {redis.call('HGET', facts, 'record'), used or ''}
end

function ops.touch()
  if not lives() then
    return 0
  end
  use()
  return 1
end

function ops.calls() -- how many, limit
  if not lives() then
    return -1
  end
  local others = 0
  local known = redis.call('HGETALL', calls)
  for index = 1, #known, 2 do
    if known[index] ~= me then
      others = others + tonumber(known[index + 1])
    end
  end
  local granted = math.min(tonumber(ARGV[4]), math.max(0, tonumber(ARGV[5]) - others))
  if granted > 0 then
    redis.call('HSET', calls, me, granted)
    redis.call('PEXPIRE', calls, redis.call('PTTL', facts))
  else
    redis.call('HDEL', calls, me)
  end
  return granted
end

function ops.delete()
  if not lives() then
    return 0
  end
  remove()
  return 1
end

function ops.evict() -- whether to spare a session that is at work
  if ARGV[4] == '1' and lives() and busy() then
    use()
    return 0
  end
  remove()
  return 1
end

function ops.begin() -- stream, whether it answers a request, the request's id, limit
  local number = ARGV[4]
  if find(number) then
    return redis.error_reply('GONE a stream with this number exists')
  end
  if ARGV[5] ~= '1' and full(ARGV[7]) then
    return 1
  end
  if redis.call('HLEN', streams) >= STREAMS and not make_room() then
    return redis.error_reply('GONE the session has too many streams')
  end
  local rank = count('ranks', 1)
  local stream = {born = rank, writer = me, holder = me, rank = rank, time = wall_text,
    last = 0, lost = 0, readers = {}}
  if ARGV[5] == '1' then
    stream.request = ARGV[6]
  else
    redis.call('ZADD', open, rank, number)
  end
  save(number, stream)
  local left = redis.call('PTTL', facts)
  redis.call('PEXPIRE', streams, left)
  redis.call('PEXPIRE', open, left)
  return 0
end

function ops.append() -- stream, data, whether it ends
  local number, data, last = ARGV[4], ARGV[5], ARGV[6] == '1'
  local stream = find(number)
  if not stream or stream.ended then
    return -1
  end
  if data ~= '' or not last then
    keep(number, stream, data)
  end
  stream.time = wall_text
  if me == stream.writer then
    stream.orphaned = nil
  end
  if last then
    stream.ended = true
    stream.armed = nil
  end
  wake_readers(number, stream)
  save(number, stream)
  if last and redis.call('ZREM', open, number) == 1 then
    wake_carrier()
  end
  return stream.last
end

function ops.read() -- stream, after, limit
  local number, after, limit = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  local stream = find(number)
  if not stream then
    return ''
  end
  local entries, size, full = {}, 0, false
  local from, chunk = after + 1, 16
  while not full do
    local found = redis.call('XRANGE', log(number), from .. '-0', '+', 'COUNT', chunk)
    for _, event in ipairs(found) do
      local data = event[2][2]
      size = size + #data
      if #entries > 0 and size > limit then
        full = true
        break
      end
      from = tonumber(string.match(event[1], '^%d+')) + 1
      entries[#entries + 1] = from - 1
      entries[#entries + 1] = data
    end
    full = full or #found < chunk
    chunk = 128
  end
  if after >= stream.last and not stream.ended and not stream.orphaned then
    stream.readers[me] = WAITS
  else
    stream.readers[me] = nil
  end
  save(number, stream)
  return page(stream, entries)
end

function ops.put() -- data, whether it is a request, whether once, once
  local data, request = ARGV[4], ARGV[5] == '1'
  local size = #data
  if ARGV[6] == '1' and redis.call('ZSCORE', once, ARGV[7]) then
    return 0
  end
  if fact('requests') + 1 > EVENTS or fact('request_bytes') + size > QUEUE_BYTES then
    return 0
  end
  local requests, bytes = {}, fact('queue_bytes')
  local waiting = redis.call('LLEN', queue)
  while waiting + 1 > EVENTS or bytes + size > QUEUE_BYTES do
    local first = redis.call('LPOP', queue)
    if string.sub(first, 1, 1) == 'r' then
      requests[#requests + 1] = first
    else
      waiting, bytes = waiting - 1, bytes - (#first - 1)
    end
  end
  for index = #requests, 1, -1 do
    redis.call('LPUSH', queue, requests[index])
  end
  redis.call('RPUSH', queue, (request and 'r' or 'n') .. data)
  redis.call('HSET', facts, 'queue_bytes', bytes + size)
  if request then
    count('requests', 1)
    count('request_bytes', size)
  end
  local left = redis.call('PTTL', facts)
  redis.call('PEXPIRE', queue, left)
  if ARGV[6] == '1' then
    redis.call('ZADD', once, count('announced', 1), ARGV[7])
    redis.call('ZREMRANGEBYRANK', once, 0, -ONCE - 1)
    redis.call('PEXPIRE', once, left)
  end
  wake_carrier()
  return 1
end

function ops.take() -- stream, limit
  local number, limit = ARGV[4], tonumber(ARGV[5])
  local stream = find(number)
  if not stream then
    return ''
  end
  if stream.holder ~= me or stream.ended or stream.request then
    return page(stream, {})
  end
  local entries, size = {}, 0
  if redis.call('ZREVRANGE', open, 0, 0)[1] == number then
    while true do
      local first = redis.call('LINDEX', queue, 0)
      if not first or (#entries > 0 and size + #first - 1 > limit) then
        break
      end
      redis.call('LPOP', queue)
      local data = string.sub(first, 2)
      size = size + #data
      if string.sub(first, 1, 1) == 'r' then
        count('requests', -1)
        count('request_bytes', -#data)
      end
      keep(number, stream, data)
      entries[#entries + 1] = stream.last
      entries[#entries + 1] = data
    end
  end
  if #entries == 0 then
    stream.armed = WAITS
  else
    count('queue_bytes', -size)
    stream.armed = nil
    stream.time = wall_text
    wake_readers(number, stream)
  end
  save(number, stream)
  return page(stream, entries)
end

function ops.release() -- stream
  local number = ARGV[4]
  local stream = find(number)
  if stream and stream.holder == me then
    let_go(number, stream)
    stream.time = wall_text
    save(number, stream)
    wake_carrier()
  end
  return 0
end

function ops.claim() -- stream, limit
  local number = ARGV[4]
  local stream = find(number)
  if not stream then
    return 0
  end
  if not (stream.request or stream.holder or stream.ended) and full(ARGV[5]) then
    return 1
  end
  if stream.holder and stream.holder ~= me then
    note(stream.holder, 'moved', number)
    let_go(number, stream)
  end
  stream.holder = me
  stream.rank = count('ranks', 1)
  stream.time = wall_text
  if not stream.request and not stream.ended then
    redis.call('ZADD', open, stream.rank, number)
    redis.call('PEXPIRE', open, redis.call('PTTL', facts))
  end
  save(number, stream)
  wake_carrier()
  return 0
end

function ops.bury() -- the worker that is gone
  local worker = ARGV[4]
  redis.call('HDEL', calls, worker)
  for _, number in ipairs(redis.call('HKEYS', streams)) do
    local stream = fetch(number)
    stream.readers[worker] = nil
    if stream.holder == worker then
      let_go(number, stream)
      note(worker, 'moved', number)
    end
    if stream.writer == worker and stream.request and not stream.ended and not stream.orphaned then
      stream.orphaned = true
      wake_readers(number, stream)
    end
    save(number, stream)
  end
  wake_carrier()
  return 0
end

function ops.remind() -- the workers that are gone; none: whoever has failed to tell
  local gone = {}
  for index = 4, #ARGV do
    gone[ARGV[index]] = true
  end
  local function failed(teller)
    return teller and teller ~= WAITS and (gone[teller] or #ARGV < 4)
  end
  for _, number in ipairs(redis.call('HKEYS', streams)) do
    local stream = fetch(number)
    if failed(stream.readers[me]) or (stream.holder == me and failed(stream.armed)) then
      note(me, 'wake', number)
    end
  end
  return 0
end

local within = {begin = 1, append = 1, read = 1, put = 1, take = 1, release = 1, claim = 1}
if within[op] and not lives() then
  return redis.error_reply('NOSESSION')
end

local outcome = ops[op]()
if type(outcome) == 'table' and outcome.err then
  return outcome
end
return {outcome, notes}
