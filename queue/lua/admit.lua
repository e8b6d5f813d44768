-- admit: the tick. Any gateway may call it at any time; extra ticks are harmless.
-- ARGV: now
-- Reply: { called, set aside, called but unclaimed and set aside, passes expired, waiting }
--        all -1 when the sale is unknown here
-- Cost: O((CALL_MAX + AWAY_MAX + 2 * EXPIRE_MAX) * log n) at most.
-- Calls the first n present visitors, n bounded by budget and by room. Silent ones at the front move to away with
-- their score kept, but only below a horizon that has stood long enough for them to speak: behind it the tick stops,
-- since nobody there was asked yet, and calling somebody further back would overtake them. So do visitors who were
-- called and did not claim in time. Shortly after a loss silence counts for nobody.
local function admit(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  if not s then
    return { -1, -1, -1, -1, -1 }
  end
  local now_ms = math.floor(now_us / 1000)
  notice_change(k, s, now_us)
  refill(s, now_us)

  local unclaimed = redis.call('ZRANGEBYSCORE', k.called, '-inf', now_ms - 1, 'LIMIT', 0, EXPIRE_MAX)
  for _, visitor in ipairs(unclaimed) do
    local score = turn_of(k, visitor)
    redis.call('ZREM', k.called, visitor)
    redis.call('HDEL', k.turns, visitor)
    redis.call('ZADD', k.away, whole(score), visitor)
  end
  local over = redis.call('ZRANGEBYSCORE', k.inside, '-inf', now_ms - 1, 'LIMIT', 0, EXPIRE_MAX)
  for _, visitor in ipairs(over) do
    redis.call('ZREM', k.inside, visitor)
    redis.call('HDEL', k.turns, visitor)
    redis.call('ZADD', k.spent, whole(now_ms * 2), visitor)
  end

  local n, called, silent = budget(k, s, now_us), 0, 0
  local reached, hushed = false, is_hushed(s, now_us)
  while called < n and silent < AWAY_MAX and not reached do
    local want = math.min(n - called, AWAY_MAX - silent, 100)
    local front = redis.call('ZRANGE', k.line, 0, want - 1, 'WITHSCORES')
    if #front == 0 then
      break
    end
    local looked_at, taken, turned, set_aside = {}, {}, {}, {}
    for i = 1, #front, 2 do
      looked_at[#looked_at + 1] = front[i]
    end
    local seen_ms = redis.call('ZMSCORE', k.near, unpack(looked_at))
    for i, visitor in ipairs(looked_at) do
      local score = tonumber(front[2 * i])
      if seen_ms[i] and tonumber(seen_ms[i]) >= now_ms - PRESENCE_MS then
        turned[#turned + 1] = { visitor, score }
      elseif score <= s.asked_score and not hushed then
        set_aside[#set_aside + 1] = whole(score)
        set_aside[#set_aside + 1] = visitor
      else
        reached = true
        break
      end
      taken[#taken + 1] = visitor
    end
    if #taken > 0 then
      redis.call('ZREM', k.line, unpack(taken))
      redis.call('ZREM', k.near, unpack(taken))
    end
    call_visitors(k, s, turned, now_us)
    if #set_aside > 0 then
      redis.call('ZADD', k.away, unpack(set_aside))
    end
    called = called + #turned
    silent = silent + #set_aside / 2
  end

  save_bucket(k, s)
  count(k, 'called', called)
  count(k, 'expired', #unclaimed)
  if called + silent + #unclaimed + #over > 0 then
    redis.call('XADD', k.log, 'MAXLEN', '~', 10000, '*', 'op', 'admit', 'us', whole(now_us), 'called', called,
      'away', silent, 'unclaimed', #unclaimed, 'over', #over)
  end
  return { called, silent, #unclaimed, #over, redis.call('ZCARD', k.line) }
end

redis.register_function('USHER_admit', admit)
