-- offer: notes a code with which a place may be taken to another device.
-- ARGV: now, visitor, score and device that its place was signed with, code (random, made by the gateway)
-- Reply: { what, code, end of its life (ms) }, what being
--   offered  the code leads to the place; an earlier one of the visitor stands in for it while half its life is ahead
--   in_use   the code leads to somebody else's place: come with another one
--   full     as many codes are live as may be
--   final    the place has moved as often as a place may
--   moved    another device holds the place;  called | inside | left | expired: the place cannot move;  absent: no such sale
-- Cost: O(log n); O(FORGET_MAX * log n) when as many codes are held as may be. A visitor has one code, used or not.

-- How long a code leads to a place.
local CODE_LIFE_MS = 600000
-- Most codes held at a time.
local CODES_MAX = 100000
-- How codes are kept that nobody has used yet.
local NOBODY = '-'

-- The facts of a code that is live: { visitor, score, device, taker }; nil when there is none.
local function offer_of(k, code, now_ms)
  local until_ms = redis.call('ZSCORE', k.codes, code)
  if not until_ms or tonumber(until_ms) <= now_ms then
    return nil
  end
  local visitor, score, device, taker = string.match(redis.call('HGET', k.offers, code), '^(%S+) (%d+) (%d+) (%S+)$')
  return { visitor = visitor, score = tonumber(score), device = tonumber(device), taker = taker, until_ms = tonumber(until_ms) }
end

local function forget_code(k, code)
  local visitor = string.match(redis.call('HGET', k.offers, code) or '', '^%S+')
  if visitor and redis.call('HGET', k.offers, visitor) == code then
    redis.call('HDEL', k.offers, visitor)
  end
  redis.call('HDEL', k.offers, code)
  redis.call('ZREM', k.codes, code)
end

-- Forgets codes whose life is over, at most FORGET_MAX.
local function forget_codes(k, now_ms)
  for _, code in ipairs(redis.call('ZRANGEBYSCORE', k.codes, '-inf', whole(now_ms), 'LIMIT', 0, FORGET_MAX)) do
    forget_code(k, code)
  end
end

-- Whether a place in this state may move: whoever is inside or has left has none any more.
local function may_move(state)
  return state == 'waiting' or state == 'away' or state == 'unknown'
end

local function offer(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  if not load_state(k) then
    return { 'absent', '', 0 }
  end
  local now_ms = math.floor(now_us / 1000)
  local visitor, score, device, code = args[2], tonumber(args[3]), tonumber(args[4]), args[5]
  if has_moved_on(k, visitor, device, now_us) then
    return { 'moved', '', 0 }
  end
  local state = standing(k, visitor)[1]
  if not may_move(state) then
    return { state, '', 0 }
  end
  if device >= DEVICES - 1 then
    return { 'final', '', 0 }
  end
  local earlier = redis.call('HGET', k.offers, visitor)
  if earlier then
    local known = offer_of(k, earlier, now_ms)
    local ahead_ms = known and known.until_ms - now_ms or 0
    if ahead_ms > CODE_LIFE_MS / 2 and ahead_ms <= CODE_LIFE_MS and known.score == score and known.device == device
      and known.taker == NOBODY then
      return { 'offered', earlier, known.until_ms }
    end
    forget_code(k, earlier)
  end
  if redis.call('ZCARD', k.codes) >= CODES_MAX then
    forget_codes(k, now_ms)
    if redis.call('ZCARD', k.codes) >= CODES_MAX then
      return { 'full', '', 0 }
    end
  end
  if offer_of(k, code, now_ms) then
    return { 'in_use', '', 0 }
  end
  forget_code(k, code)
  local until_ms = now_ms + CODE_LIFE_MS
  redis.call('ZADD', k.codes, whole(until_ms), code)
  redis.call('HSET', k.offers, visitor, code,
    code, visitor .. ' ' .. whole(score) .. ' ' .. whole(device) .. ' ' .. NOBODY)
  return { 'offered', code, until_ms }
end

redis.register_function('USHER_offer', offer)
