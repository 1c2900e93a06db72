-- Puts cells of windows where they belong, for the one who holds the claim (cluster/windows/publishing.py).
--
-- KEYS[1]  the hash with the claim; after it one key for each cell
-- ARGV     claim, cells that a hash may have before old ones are taken out, oldest cell, seconds that a hash lives,
--          then number and bytes of each cell; no bytes: the cell is taken out
-- Returns 1, or 0 when somebody else holds the claim: then nothing was done.
local call = redis.call
if call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
local most, oldest, seconds = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function tidy(key)
  for _, cell in ipairs(call('HKEYS', key)) do
    if tonumber(cell) < oldest then call('HDEL', key, cell) end
  end
end

for i = 2, #KEYS do
  local key, cell, bytes = KEYS[i], ARGV[2 * i + 1], ARGV[2 * i + 2]
  if bytes == '' then
    call('HDEL', key, cell)
  elseif call('HSET', key, cell, bytes) == 1 and call('HLEN', key) > most then
    tidy(key)
  end
  call('EXPIRE', key, seconds)
end
return 1
