-- depart: a visitor gives up its place or its pass; the slot is free at once.
-- ARGV: now, visitor, device that its place was signed for ('' when it shows a pass, which no move takes away)
-- Reply: the standing before the call
-- Cost: O(log n). Idempotent. A device that the place has moved on from gives up nothing.
local function depart(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  if not load_state(k) then
    return { 'absent', 0, 0, 0, 0, 0 }
  end
  local visitor = args[2]
  if args[3] ~= '' and has_moved_on(k, visitor, tonumber(args[3]), now_us) then
    return { 'moved', 0, 0, 0, 0, 0 }
  end
  local before = standing(k, visitor)
  redis.call('ZREM', k.line, visitor)
  redis.call('ZREM', k.near, visitor)
  redis.call('ZREM', k.away, visitor)
  redis.call('ZREM', k.called, visitor)
  redis.call('ZREM', k.inside, visitor)
  redis.call('HDEL', k.turns, visitor)
  if before[1] ~= 'left' and before[1] ~= 'expired' then
    redis.call('ZADD', k.spent, whole(math.floor(now_us / 1000) * 2 + 1), visitor)
    count(k, 'departed', 1)
  end
  return before
end

redis.register_function('USHER_depart', depart)
