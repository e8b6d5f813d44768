-- govern: the origin's say on the rate, in thousandths of the organiser's.
-- ARGV: now, sequence number of the say that this one replaces, factor (0 to 1000), cause (one word), why (one sentence)
-- Reply: { 'ok' | 'stale' | 'heard' | 'absent', sequence number }
-- Cost: O(1). However many gateways come to the same decision, the first one makes the change and the others are told
-- that theirs is stale; so is a say that was on its way while the organiser took the origin's say away. A gateway that
-- hears nothing stops no sale while another one hears the origin. The bucket is first brought to now at the old rate, so that no change mints or takes anything for
-- the past; what is in it stays, and waits while the factor is 0.

-- For so long after a gateway heard the origin, the origin is not silent: three looks.
local HEARD_US = 3000000

local function govern(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  if not s then
    return { 'absent', 0 }
  end
  if tonumber(args[2]) ~= s.governed_seq then
    return { 'stale', s.governed_seq }
  end
  -- Settings of an older version say nothing of it.
  local f = redis.call('HMGET', k.state, 'has_say', 'heard_us')
  if f[1] == '0' then
    return { 'stale', s.governed_seq }
  end
  -- What was heard after now, before the clock stepped back, says nothing.
  local since_us = f[2] and now_us - tonumber(f[2]) or HEARD_US
  if args[4] == 'silent' and since_us >= 0 and since_us < HEARD_US then
    return { 'heard', s.governed_seq }
  end
  notice_change(k, s, now_us)
  refill(s, now_us)
  save_bucket(k, s)
  set_governed(k, s, now_us, math.max(0, math.min(1000, tonumber(args[3]))), args[4], args[5])
  return { 'ok', s.governed_seq }
end

redis.register_function('USHER_govern', govern)
