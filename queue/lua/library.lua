#!lua name=USHER
-- The line of a sale, as Redis Functions. One operation per file; this file holds what they share.
--
-- KEYS, the same thirteen for every function, all under one hash tag:
--   1 line    zset    visitor -> score                  who waits, in order
--   2 near    zset    visitor -> last seen, ms          presence of those within the horizon
--   3 away    zset    visitor -> score                  reached the front but silent; score kept
--   4 called  zset    visitor -> claim deadline, ms     whose turn has come
--   5 inside  zset    visitor -> pass expiry, ms        who holds a live pass
--   6 state   hash    settings, version, counters, last score, rate bucket, generation, horizons
--   7 ranks   string  the published snapshot
--   8 log     stream  what each tick did, trimmed
--   9 turns   hash    visitor -> "score called_us seq"  facts of those in called and inside
--  10 spent   zset    visitor -> ms * 2 + (1 if left)   whose place was used up or given back
--  11 codes   zset    code -> end of its life, ms      codes that lead a place to another device
--  12 offers  hash    code -> "visitor score device taker", and visitor -> its code
--  13 moved   zset    visitor -> s * DEVICES + device  which device holds a place that ever moved, and since when
-- ARGV[1] of every function is the time in microseconds for tests; '' in production means the server's TIME.
--
-- Invariants: a visitor is in at most one of line, away, called, inside, spent. Scores given here are unique and only
-- rise; two gateways that sign places alone, while Redis does not answer, may give the same one.
-- Calls never exceed the bucket: permits are whole numbers of 1/PERMIT, so nothing is lost or won by rounding.
-- Every loop is bounded by its arguments or by a constant below.

-- A permit in bucket units: rate is held in thousandths per minute and time in microseconds, so
-- one permit = 1000 * 60 * 1000000 units, and units * 10^5 permits stay exact in a double.
local PERMIT = 60000000000
-- A gap between two refills counts for at most this long, so that no clock step mints permits.
local MAX_DT_US = 1000000
-- Somebody near the front who was not seen for this long is set aside until seen again.
local PRESENCE_MS = 10000
-- Most visitors that one tick may call, set aside, or expire.
local CALL_MAX = 500
local AWAY_MAX = 500
local EXPIRE_MAX = 500
-- Visitors who will be called within this time, at the full rate, are within the horizon: their polls are presence.
local HORIZON_S = 90
-- A horizon must have stood for this long before silence below it counts: whoever it covers was told to ask within it.
local ASK_US = 5000000
-- Longest interval between two polls, with its jitter, and then some: for so long after the rate was raised there may be
-- visitors who are within the horizon only since then, and who do as they were told under the old rate.
local SLOWEST_MS = 70000
-- After a loss nobody is called for this long, so that those near the front, who ask at least this often, are back in
-- the line before anybody is called; and for WHOLE_US every poll is presence, until the line is whole again: twice
-- the longest poll interval.
local CALM_US = 5000000
local WHOLE_US = 140000000
-- For so long after a loss silence counts for nobody: whoever is near was told to ask within five seconds, or within two by
-- a gateway that could not reach this Redis, which may have learnt a little later than others that it is back.
local HUSH_US = 6000000
-- So many changes of the origin's say are kept for the organiser.
local CHANGES_KEPT = 50
-- How long used-up places are remembered, and silent ones kept: the life of a place token.
local PLACE_LIFE_MS = 86400000
-- Most entries of one kind that are forgotten at a time.
local FORGET_MAX = 1000
-- A visitor's devices are numbered below this, from 0, the one that joined.
local DEVICES = 1024

local function named(keys)
  return {
    line = keys[1], near = keys[2], away = keys[3], called = keys[4], inside = keys[5],
    state = keys[6], ranks = keys[7], log = keys[8], turns = keys[9], spent = keys[10],
    codes = keys[11], offers = keys[12], moved = keys[13],
  }
end

local function whole(number)
  return string.format('%.0f', number)
end

local function time_us(override)
  if override ~= '' then
    return tonumber(override)
  end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

-- The numbers of the state hash that a decision needs; nil when the sale is unknown here.
local function load_state(k)
  local f = redis.call('HMGET', k.state, 'version', 'state', 'opens_at_us', 'rate_milli', 'burst', 'max_inside',
    'pass_ttl_ms', 'claim_window_ms', 'last_score', 'bucket_units', 'bucket_us', 'seq', 'run_id', 'calm_until_us', 'asked_score',
    'governed_milli', 'governed_seq', 'horizon_score')
  if not f[1] then
    return nil
  end
  return {
    version = tonumber(f[1]), state = f[2], opens_at_us = tonumber(f[3]), rate_milli = tonumber(f[4]),
    burst = tonumber(f[5]), max_inside = tonumber(f[6]), pass_ttl_ms = tonumber(f[7]),
    claim_window_ms = tonumber(f[8]), last_score = tonumber(f[9]), bucket_units = tonumber(f[10]),
    bucket_us = tonumber(f[11]), seq = tonumber(f[12]), run_id = f[13], calm_until_us = tonumber(f[14]),
    asked_score = tonumber(f[15]),
    -- A sale that nobody ever governed runs at the organiser's rate.
    governed_milli = tonumber(f[16] or '1000'), governed_seq = tonumber(f[17] or '0'),
    horizon_score = tonumber(f[18]),
  }
end

-- Which process this is: another one after a restart, a restored dump or a failover.
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- Begins to regroup: what is held here may be older than what visitors were told. The generation tells gateways.
-- Whoever the last published horizon covered goes on being asked: silence counts for them when the hush is over, so that
-- those who were called after what is held here was written do not hold up the line.
local function regroup(k, s, now_us, why)
  s.run_id, s.calm_until_us, s.bucket_units = run_id(), now_us + CALM_US, 0
  s.asked_score = 0
  redis.call('HSET', k.state, 'run_id', s.run_id, 'gen', whole(now_us), 'calm_until_us', whole(s.calm_until_us),
    'whole_at_us', whole(now_us + WHOLE_US), 'bucket_units', '0', 'bucket_us', whole(now_us),
    'asked_score', '0', 'asking_score', whole(s.horizon_score or 0), 'asking_us', whole(now_us))
  redis.call('DEL', k.ranks)
  redis.call('XADD', k.log, 'MAXLEN', '~', 10000, '*', 'op', 'regroup', 'us', whole(now_us), 'why', why)
end

-- Notices that another process wrote here last. Asked before anybody is called, so that no call is made from a line
-- that may have lost its front.
local function notice_change(k, s, now_us)
  if s.run_id ~= run_id() then
    regroup(k, s, now_us, 'restart or failover')
  end
end

-- Whether calling rests. A clock that steps back prolongs nothing.
local function is_calm(s, now_us)
  return now_us < s.calm_until_us and s.calm_until_us - now_us <= CALM_US
end

-- Whether silence counts for nobody yet. A clock that steps back prolongs nothing.
local function is_hushed(s, now_us)
  local since_us = now_us - (s.calm_until_us - CALM_US)
  return since_us >= 0 and since_us < HUSH_US
end

-- Whether visitors are called at this time.
local function is_open(s, now_us)
  if is_calm(s, now_us) then
    return false
  end
  return s.state == 'open' or (s.state == 'scheduled' and s.opens_at_us > 0 and now_us >= s.opens_at_us)
end

-- The organiser's rate times the origin's say, in thousandths per minute, cut to a whole number.
local function rate_in_force(rate_milli, governed_milli)
  return math.floor(rate_milli * governed_milli / 1000)
end

-- Writes the origin's say. The caller has brought the bucket to now, so that what was earned was earned at the old rate.
local function set_governed(k, s, now_us, factor_milli, cause, why)
  s.governed_milli, s.governed_seq = factor_milli, s.governed_seq + 1
  local changes = { whole(now_us) .. ' ' .. whole(factor_milli) .. ' ' .. cause .. ' ' .. why }
  for line in string.gmatch(redis.call('HGET', k.state, 'changes') or '', '[^\n]+') do
    if #changes == CHANGES_KEPT then break end
    changes[#changes + 1] = line
  end
  redis.call('HSET', k.state, 'governed_milli', whole(factor_milli), 'governed_seq', whole(s.governed_seq),
    'governed_us', whole(now_us), 'governed_cause', cause, 'governed_why', why, 'changes', table.concat(changes, '\n'))
  redis.call('XADD', k.log, 'MAXLEN', '~', 10000, '*', 'op', 'govern', 'us', whole(now_us), 'factor', whole(factor_milli),
    'cause', cause, 'why', why)
end

-- Brings the bucket to now. It only fills while the sale is open, so nothing is earned for the time before a scheduled
-- opening or for the calm after a loss; a clock that steps back fills nothing and does not stall the clock that follows.
local function refill(s, now_us)
  local dt = now_us - s.bucket_us
  if dt < 0 then dt = 0 end
  if dt > MAX_DT_US then dt = MAX_DT_US end
  if is_open(s, now_us) then
    if s.state == 'scheduled' then dt = math.min(dt, now_us - s.opens_at_us) end
    if now_us >= s.calm_until_us then dt = math.min(dt, now_us - s.calm_until_us) end
    s.bucket_units = math.min(s.burst * PERMIT, s.bucket_units + dt * rate_in_force(s.rate_milli, s.governed_milli))
  end
  s.bucket_us = now_us
end

local function save_bucket(k, s)
  redis.call('HSET', k.state, 'bucket_units', whole(s.bucket_units), 'bucket_us', whole(s.bucket_us))
end

local function room(k, s)
  return s.max_inside - redis.call('ZCARD', k.called) - redis.call('ZCARD', k.inside)
end

-- How many ranks are within the horizon, by the organiser's rate: the origin's say may be back at full at any moment, and
-- silence counts only for those who were asked a while before.
local function reach(rate_milli)
  return math.max(100, math.ceil(rate_milli * HORIZON_S / 60000))
end

-- Below how many ranks silence may count. A raised rate widens the horizon at once, but whoever it newly covers was told
-- under the old rate to ask within a thirtieth of the wait: position * 2 / rate, and 15 percent. So it widens here at the
-- pace of those intervals, until the longest of them is over. Raises: "when from" of each that is not over, the time in
-- us and the rate that was raised.
local function asked_reach(rate_milli, raises, now_us)
  local ranks = reach(rate_milli)
  for rose_us, from_milli in string.gmatch(raises, '(%d+) (%d+)') do
    local since_ms, from = math.floor((now_us - tonumber(rose_us)) / 1000), tonumber(from_milli)
    if since_ms >= 0 and since_ms < SLOWEST_MS then
      local heard = math.floor(from * math.max(0, since_ms - 3000) / 2400000)
      ranks = math.min(ranks, math.max(reach(from), heard))
    end
  end
  return ranks
end

-- The raises that are not over, with one more: at most RAISES_MAX, where the first two become one that is as slow as either.
local RAISES_MAX = 8
local function with_raise(raises, from_milli, now_us)
  local kept = {}
  for rose_us, from in string.gmatch(raises, '(%d+) (%d+)') do
    local since_us = now_us - tonumber(rose_us)
    if since_us >= 0 and since_us < SLOWEST_MS * 1000 then
      kept[#kept + 1] = { tonumber(rose_us), tonumber(from) }
    end
  end
  kept[#kept + 1] = { now_us, from_milli }
  if #kept > RAISES_MAX then
    local first = table.remove(kept, 1)
    kept[1][2] = math.min(kept[1][2], first[2])
  end
  local parts = {}
  for _, raise in ipairs(kept) do
    parts[#parts + 1] = whole(raise[1]) .. ' ' .. whole(raise[2])
  end
  return table.concat(parts, ' ')
end

-- How many may be called now: bounded by the bucket, by the room and by CALL_MAX. A sale that the origin has stopped
-- calls nobody, whatever is in the bucket.
local function budget(k, s, now_us)
  if not is_open(s, now_us) or s.governed_milli == 0 then
    return 0
  end
  local n = math.min(math.floor(s.bucket_units / PERMIT), room(k, s), CALL_MAX)
  if n < 0 then n = 0 end
  return n
end

-- The turn of these visitors has come: a list of { visitor, score }, in order. The caller has checked the budget and
-- saves the bucket.
local function call_visitors(k, s, turned, now_us)
  if #turned == 0 then
    return
  end
  local deadline = whole(math.floor(now_us / 1000) + s.claim_window_ms)
  local called, turns = {}, {}
  for _, turn in ipairs(turned) do
    s.seq = s.seq + 1
    s.bucket_units = s.bucket_units - PERMIT
    called[#called + 1] = deadline
    called[#called + 1] = turn[1]
    turns[#turns + 1] = turn[1]
    turns[#turns + 1] = whole(turn[2]) .. ' ' .. whole(now_us) .. ' ' .. whole(s.seq)
  end
  redis.call('ZADD', k.called, unpack(called))
  redis.call('HSET', k.turns, unpack(turns))
  redis.call('HSET', k.state, 'seq', whole(s.seq))
end

local function turn_of(k, visitor)
  local text = redis.call('HGET', k.turns, visitor)
  if not text then
    return 0, 0, 0
  end
  local score, called_us, seq = string.match(text, '^(%d+) (%d+) (%d+)$')
  return tonumber(score), tonumber(called_us), tonumber(seq)
end

local function count(k, field, n)
  if n ~= 0 then
    redis.call('HINCRBY', k.state, field, n)
  end
end

-- Which of a visitor's devices holds the place, as far as is known here: the first, unless it ever moved.
local function device_of(k, visitor)
  local moved = redis.call('ZSCORE', k.moved, visitor)
  return moved and tonumber(moved) % DEVICES or 0
end

local function hand_over(k, visitor, device, now_us)
  redis.call('ZADD', k.moved, whole(math.floor(now_us / 1000000) * DEVICES + device), visitor)
end

-- Whether the place has moved on from the device that shows it. One later than is known here is right: its place is
-- signed, and Redis has lost the move.
local function has_moved_on(k, visitor, device, now_us)
  local holder = device_of(k, visitor)
  if device > holder then
    hand_over(k, visitor, device, now_us)
  end
  return device < holder
end

-- A visitor's standing as every function reports it:
--   { state, score, until_ms, called_us, seq, ahead }
-- state: waiting | called | inside | away | left | expired | unknown | absent (no such sale here) | moved (another device
-- holds the place; said by those functions that are told which one shows it)
local function standing(k, visitor)
  local deadline = redis.call('ZSCORE', k.called, visitor)
  if deadline then
    local score, called_us, seq = turn_of(k, visitor)
    return { 'called', score, tonumber(deadline), called_us, seq, 0 }
  end
  local expiry = redis.call('ZSCORE', k.inside, visitor)
  if expiry then
    local score, called_us, seq = turn_of(k, visitor)
    return { 'inside', score, tonumber(expiry), called_us, seq, 0 }
  end
  local score = redis.call('ZSCORE', k.line, visitor)
  if score then
    return { 'waiting', tonumber(score), 0, 0, 0, redis.call('ZRANK', k.line, visitor) }
  end
  score = redis.call('ZSCORE', k.away, visitor)
  if score then
    return { 'away', tonumber(score), 0, 0, 0, 0 }
  end
  local spent = redis.call('ZSCORE', k.spent, visitor)
  if spent then
    return { (tonumber(spent) % 2 == 1) and 'left' or 'expired', 0, 0, 0, 0, 0 }
  end
  return { 'unknown', 0, 0, 0, 0, 0 }
end
