-- snapshot: what a gateway needs to answer every poll of the next second without asking again.
-- ARGV: now, how old a published snapshot may be (ms), ranks of the head (exact), points of the tail
-- Reply: { 'ok', version, settings, now_us, last_score, waiting, near, away, called, inside, joined, called total,
--          claimed, departed, expired, horizon (score, 0 = everybody waiting is within), head, tail, step, generation,
--          calm until (us), whole at (us), visitors who left in the last LEFT_MS joined by commas, the origin's say (thousandths),
--          its sequence number, since when (us), cause, why, digest of the file that the settings came from ('' = none) }
--        or { 'absent' }. head: scores of the first ranks, joined by commas. tail: the scores at ranks
--        #head + step, #head + 2 * step ... joined by commas.
-- Cost: O(head + tail * log n) when due, O(1) otherwise. Also forgets what is older than a place can be.
local LEFT_MS, LEFT_MAX = 5000, 1000

local function forget(key, up_to)
  local old = redis.call('ZRANGEBYSCORE', key, '-inf', whole(up_to), 'LIMIT', 0, FORGET_MAX)
  if #old > 0 then
    redis.call('ZREM', key, unpack(old))
  end
end

-- Silence counts below a horizon only once it has stood for ASK_US. The last one published is kept for whoever reads this
-- after a loss.
local function ask(k, horizon_score, now_us)
  local f = redis.call('HMGET', k.state, 'asked_score', 'asking_score', 'asking_us')
  local asked, asking, asking_us = tonumber(f[1]), tonumber(f[2]), tonumber(f[3])
  if now_us < asking_us or now_us - asking_us >= ASK_US then
    if now_us >= asking_us then
      asked = math.max(asked, asking)
    end
    asking, asking_us = horizon_score, now_us
  end
  -- A horizon that came nearer, since the rate was lowered: whoever is beyond it is told to ask rarely from now on.
  asked = math.min(asked, horizon_score)
  redis.call('HSET', k.state, 'asked_score', whole(asked), 'asking_score', whole(asking), 'asking_us', whole(asking_us),
    'horizon_score', whole(horizon_score))
end

local function snapshot(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local f = redis.call('HMGET', k.state, 'version', 'settings', 'last_score', 'joined', 'called', 'claimed',
    'departed', 'expired', 'rate_milli', 'gen', 'calm_until_us', 'whole_at_us', 'governed_milli', 'governed_seq',
    'governed_us', 'governed_cause', 'governed_why', 'file_digest', 'raises')
  if not f[1] then
    return { 'absent' }
  end
  local now_ms = math.floor(now_us / 1000)
  local published = redis.call('GET', k.ranks)
  local at_us, horizon, head, tail, step
  if published then
    at_us, horizon, step, head, tail = string.match(published, '^(%d+) (%d+) (%d+) ([%d,]*) ([%d,]*)$')
    local age_us = now_us - tonumber(at_us)
    if age_us < 0 or age_us >= tonumber(args[2]) * 1000 then
      published = nil
    end
  end
  local waiting = redis.call('ZCARD', k.line)
  if not published then
    local head_n, tail_n = tonumber(args[3]), tonumber(args[4])
    local scores, pairs_ = {}, redis.call('ZRANGE', k.line, 0, head_n - 1, 'WITHSCORES')
    for i = 2, #pairs_, 2 do
      scores[#scores + 1] = whole(tonumber(pairs_[i]))
    end
    head = table.concat(scores, ',')
    local points = {}
    step = 0
    if waiting > head_n then
      step = math.ceil((waiting - head_n) / tail_n)
      local rank = head_n + step
      while rank < waiting do
        points[#points + 1] = whole(tonumber(redis.call('ZRANGE', k.line, rank, rank, 'WITHSCORES')[2]))
        rank = rank + step
      end
    end
    tail = table.concat(points, ',')
    local function score_at(rank, beyond)
      return waiting > rank and tonumber(redis.call('ZRANGE', k.line, rank, rank, 'WITHSCORES')[2]) or beyond
    end
    horizon = score_at(reach(tonumber(f[9])), 0)
    local asked = asked_reach(tonumber(f[9]), f[19] or '', now_us)
    ask(k, score_at(asked, tonumber(f[3])), now_us)
    redis.call('SET', k.ranks, whole(now_us) .. ' ' .. whole(horizon) .. ' ' .. step .. ' ' .. head .. ' ' .. tail)
    forget(k.near, now_ms - 60 * PRESENCE_MS)
    forget(k.away, now_us - PLACE_LIFE_MS * 1000)
    forget(k.spent, (now_ms - PLACE_LIFE_MS) * 2)
    forget(k.moved, (math.floor(now_us / 1000000) - PLACE_LIFE_MS / 1000) * DEVICES)
    forget_codes(k, now_ms)
  end
  local left = {}
  local gone = redis.call('ZRANGEBYSCORE', k.spent, whole((now_ms - LEFT_MS) * 2), '+inf', 'WITHSCORES', 'LIMIT', 0,
    LEFT_MAX)
  for i = 1, #gone, 2 do
    if tonumber(gone[i + 1]) % 2 == 1 then left[#left + 1] = gone[i] end
  end
  return {
    'ok', tonumber(f[1]), f[2], now_us, tonumber(f[3]), waiting, redis.call('ZCARD', k.near),
    redis.call('ZCARD', k.away), redis.call('ZCARD', k.called), redis.call('ZCARD', k.inside), tonumber(f[4]),
    tonumber(f[5]), tonumber(f[6]), tonumber(f[7]), tonumber(f[8]), tonumber(horizon), head, tail, tonumber(step),
    tonumber(f[10]), tonumber(f[11]), tonumber(f[12]), table.concat(left, ','),
    tonumber(f[13] or '1000'), tonumber(f[14] or '0'), tonumber(f[15] or '0'), f[16] or 'full', f[17] or '', f[18] or '',
  }
end

redis.register_function('USHER_snapshot', snapshot)
