-- heard: a gateway hears the origin, so that one that is cut off from it does not stop the sale for all.
-- ARGV: now
-- Reply: { 'ok' | 'absent' }
-- Cost: O(1). Changes nothing of the line: only govern reads it.
local function heard(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  if redis.call('HEXISTS', k.state, 'version') == 0 then
    return { 'absent' }
  end
  redis.call('HSET', k.state, 'heard_us', whole(now_us))
  return { 'ok' }
end

redis.register_function('USHER_heard', heard)
