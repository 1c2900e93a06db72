-- Puts all cells of some entities in the place of those that they had, for the one who holds the claim.
--
-- KEYS[1]  the hash with the claim; after it one key for each entity
-- ARGV     claim, seconds that a hash lives, then for each entity how many cells, and number and bytes of each
-- Returns 1, or 0 when somebody else holds the claim: then nothing was done.
local call = redis.call
if call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
local position = 3
for i = 2, #KEYS do
  local last = position + 2 * tonumber(ARGV[position])
  call('DEL', KEYS[i])
  for at = position + 1, last, 2 do call('HSET', KEYS[i], ARGV[at], ARGV[at + 1]) end
  if last > position then call('EXPIRE', KEYS[i], ARGV[2]) end
  position = last + 1
end
return 1
