-- claim: a called visitor goes inside.
-- ARGV: now, visitor, device that its place was signed for
-- Reply: the visitor's standing after the call; 'inside' with the pass's expiry when it holds a pass.
-- Cost: O(log n). Idempotent: asking again changes nothing and answers the same.
-- A deadline that has passed still counts until a tick has set the visitor aside. A device that the place has moved on from
-- is told so and claims nothing.
local function claim(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  if not s then
    return { 'absent', 0, 0, 0, 0, 0 }
  end
  local visitor = args[2]
  if has_moved_on(k, visitor, tonumber(args[3]), now_us) then
    return { 'moved', 0, 0, 0, 0, 0 }
  end
  if redis.call('ZREM', k.called, visitor) == 1 then
    redis.call('ZADD', k.inside, whole(math.floor(now_us / 1000) + s.pass_ttl_ms), visitor)
    count(k, 'claimed', 1)
  end
  return standing(k, visitor)
end

redis.register_function('USHER_claim', claim)
