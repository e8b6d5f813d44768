-- take: the place that a code leads to moves to the device that asks.
-- ARGV: now, code, taker (random, made for the device that asks)
-- Reply: { 'taken', visitor, score, device } with which the place is to be signed; { 'unknown' | 'absent', '', 0, 0 }
-- Cost: O(log n). Exactly one taker gets the place: the device count rises and the code is used up in this call. Only the
-- same taker gets the same answer again while the code lives, so that an answer lost on the way loses no place.
-- The visitor keeps its spot, its turn and its score. Whoever went inside or left since the code was made has no place.
local function take(keys, args)
  local k, now_us = named(keys), time_us(args[1])
  if not load_state(k) then
    return { 'absent', '', 0, 0 }
  end
  local code, taker = args[2], args[3]
  local known = offer_of(k, code, math.floor(now_us / 1000))
  if not known then
    return { 'unknown', '', 0, 0 }
  end
  local visitor, device = known.visitor, known.device + 1
  local holder = device_of(k, visitor)
  local state = standing(k, visitor)[1]
  if known.taker == taker and holder == device and state ~= 'left' and state ~= 'expired' then
    return { 'taken', visitor, known.score, device }
  end
  if known.taker ~= NOBODY or holder > known.device or not (may_move(state) or state == 'called') then
    return { 'unknown', '', 0, 0 }
  end
  hand_over(k, visitor, device, now_us)
  redis.call('HSET', k.offers, code, visitor .. ' ' .. whole(known.score) .. ' ' .. whole(known.device) .. ' ' .. taker)
  return { 'taken', visitor, known.score, device }
end

redis.register_function('USHER_take', take)
