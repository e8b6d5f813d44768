-- renew: visitors who are active inside keep their slot.
-- ARGV: now, then visitor, expiry_ms per visitor (the expiry of the pass they showed, already verified)
-- Reply: per visitor the expiry of its slot in ms, or 0 when the pass no longer counts (departed or used up)
-- Cost: O(visitors * log n).
-- A visitor whom Redis has lost, or has put back into the line after a loss, but who shows a live pass is put back
-- inside: the pass is the proof. A sale that is not known here at all is about to be brought back: the pass stays good.
local function renew(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  local now_ms = math.floor(now_us / 1000)
  local replies = {}
  for i = 2, #args, 2 do
    local visitor, shown_ms = args[i], tonumber(args[i + 1])
    local until_ms = shown_ms
    if s then
      local known = standing(k, visitor)
      local lost = known[1] == 'unknown' or known[1] == 'waiting' or known[1] == 'away'
      if known[1] == 'inside' or (lost and shown_ms > now_ms) then
        until_ms = math.max(known[3], shown_ms, now_ms + s.pass_ttl_ms)
        redis.call('ZREM', k.line, visitor)
        redis.call('ZREM', k.near, visitor)
        redis.call('ZREM', k.away, visitor)
        redis.call('ZADD', k.inside, whole(until_ms), visitor)
      else
        until_ms = 0
      end
    end
    replies[#replies + 1] = until_ms
  end
  return replies
end

redis.register_function('USHER_renew', renew)
