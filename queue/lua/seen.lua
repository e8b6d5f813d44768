-- seen: presence of visitors within the horizon, in a batch, and the way back into the line.
-- ARGV: now, then visitor, score, device per visitor (what their place was signed with)
-- Reply: one standing per visitor
-- Cost: O(visitors * log n).
-- A visitor found in away, or nowhere at all (lost by Redis), is put back at its own score, the earlier one where a late answer made two. One that waits behind the
-- score its place was signed with is moved there: its join was answered too late, and the gateway signed an earlier spot.
-- A device that the place has moved on from is told so; it is no presence.
local function seen(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  local now_ms = math.floor(now_us / 1000)
  local replies = {}
  for i = 2, #args, 3 do
    local visitor, score = args[i], tonumber(args[i + 1])
    local known = { 'absent', 0, 0, 0, 0, 0 }
    if s and has_moved_on(k, visitor, tonumber(args[i + 2]), now_us) then
      known[1] = 'moved'
    elseif s then
      known = standing(k, visitor)
    end
    if known[1] == 'away' then
      score = math.min(score, known[2])
      redis.call('ZREM', k.away, visitor)
    end
    local late = known[1] == 'waiting' and known[2] > score
    if known[1] == 'away' or known[1] == 'unknown' or late then
      redis.call('ZADD', k.line, whole(score), visitor)
      if score > s.last_score then
        s.last_score = score
        redis.call('HSET', k.state, 'last_score', whole(score))
      end
      known = standing(k, visitor)
    end
    if known[1] == 'waiting' then
      redis.call('ZADD', k.near, whole(now_ms), visitor)
    end
    replies[#replies + 1] = known
  end
  return replies
end

redis.register_function('USHER_seen', seen)
