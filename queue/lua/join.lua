-- join: places each visitor once, in the order given.
-- ARGV: now, floor (the highest score the calling gateway has signed or seen), visitor...
-- Reply: one standing per visitor; 'absent' for all when the sale is unknown here, 'closed' when it takes nobody.
-- Cost: O(visitors * log n).
-- When nobody waits and there is budget and room, the visitor is called at once: an idle sale is no wait at all.
local function join(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  local closed = s and (s.state == 'closed' or s.state == 'sold_out')
  if s then
    notice_change(k, s, now_us)
    refill(s, now_us)
  end
  local replies, joined, called = {}, 0, 0
  local floor = tonumber(args[2])
  local waiting = redis.call('ZCARD', k.line)
  for i = 3, #args do
    local visitor = args[i]
    local known = s and standing(k, visitor) or { 'absent', 0, 0, 0, 0, 0 }
    if known[1] == 'unknown' and closed then
      known[1] = 'closed'
    elseif known[1] == 'unknown' then
      local score = math.max(s.last_score + 1, now_us, floor + 1)
      s.last_score = score
      joined = joined + 1
      if waiting == 0 and budget(k, s, now_us) > 0 then
        call_visitors(k, s, { { visitor, score } }, now_us)
        called = called + 1
      else
        redis.call('ZADD', k.line, whole(score), visitor)
        if waiting < reach(s.rate_milli) then
          redis.call('ZADD', k.near, whole(math.floor(now_us / 1000)), visitor)
        end
        waiting = waiting + 1
      end
      known = standing(k, visitor)
    end
    replies[#replies + 1] = known
  end
  if s then
    redis.call('HSET', k.state, 'last_score', whole(s.last_score))
    save_bucket(k, s)
    count(k, 'joined', joined)
    count(k, 'called', called)
    if called > 0 then
      redis.call('XADD', k.log, 'MAXLEN', '~', 10000, '*', 'op', 'join', 'us', whole(now_us), 'called', called)
    end
  end
  return replies
end

redis.register_function('USHER_join', join)
