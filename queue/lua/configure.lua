-- configure: creates a sale or changes its settings, under a version.
-- ARGV: now, expected version ('' = any, '0' = must not exist), version to write at least, restored ('1' after a
--       loss, else '0'), settings (JSON, opaque here), state, opens_at_us (0 = none), rate_milli, burst, max_inside,
--       pass_ttl_ms, claim_window_ms, governed ('1' when the origin has a say on the rate, else '0'), digest of the file
--       that these settings come from ('' keeps the one that stands)
-- Reply: { 'ok' | 'conflict', version }
-- Cost: O(1). A sale brought back after a loss starts to regroup. The bucket is first brought to now at the old rate, so a change of rate mints nothing for the past.
-- What the origin said last stays in force until it has no say any more.
local function configure(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  local s = load_state(k)
  local current = s and s.version or 0
  if s then
    notice_change(k, s, now_us)
  end
  if args[2] ~= '' and tonumber(args[2]) ~= current then
    return { 'conflict', current }
  end
  local version = math.max(current + 1, tonumber(args[3]))
  local burst = tonumber(args[9])
  local units
  if s then
    refill(s, now_us)
    units = math.min(s.bucket_units, burst * PERMIT)
  elseif args[4] == '1' then
    units = 0
  else
    units = burst * PERMIT
  end
  redis.call('HSET', k.state, 'version', whole(version), 'settings', args[5], 'state', args[6],
    'opens_at_us', args[7], 'rate_milli', args[8], 'burst', args[9], 'max_inside', args[10],
    'pass_ttl_ms', args[11], 'claim_window_ms', args[12], 'has_say', args[13],
    'bucket_units', whole(units), 'bucket_us', whole(now_us))
  if not s then
    redis.call('HSET', k.state, 'last_score', '0', 'seq', '0', 'joined', '0', 'called', '0', 'claimed', '0',
      'departed', '0', 'expired', '0', 'run_id', run_id(), 'gen', whole(now_us), 'calm_until_us', '0',
      'whole_at_us', '0', 'asked_score', '0', 'asking_score', '0', 'asking_us', whole(now_us))
    if args[4] == '1' then
      regroup(k, {}, now_us, 'emptied')
    end
  end
  local rate_milli = tonumber(args[8])
  if s and rate_milli > s.rate_milli then
    local raises = redis.call('HGET', k.state, 'raises') or ''
    redis.call('HSET', k.state, 'raises', with_raise(raises, s.rate_milli, now_us))
  end
  if args[14] and args[14] ~= '' then
    redis.call('HSET', k.state, 'file_digest', args[14])
  end
  if s and args[13] == '0' and s.governed_milli ~= 1000 then
    set_governed(k, s, now_us, 1000, 'removed', 'Full rate: the origin has no say any more.')
  end
  redis.call('DEL', k.ranks)
  return { 'ok', version }
end

redis.register_function('USHER_configure', configure)
