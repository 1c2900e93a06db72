-- Newest wins, between batches and writers: the atomic half of cluster/ingest/merge.py.
--
-- KEYS     one hash for each group of rows: rows of one entity with different features
-- ARGV[1]  MessagePack: [feature names, then for each group: set, value, time, value, time, ...]
--          set = block * 2^32 + bits: bit i stands for feature block * 32 + i, values come in that order
--          value is text as stored, time is "<event µs>:<created µs>"
-- Returns how many rows replaced what was stored, or were the first.
--
-- All of it in one argument: the server spends more on taking an argument apart than Lua on unpacking it.
local call, unpack, floor = redis.call, unpack, math.floor
local byte, find, match = string.byte, string.find, string.match
local input = cmsgpack.unpack(ARGV[1])
local names = input[1]

-- Times are compared as decimal text, longer is later: doubles do not hold every microsecond after 2255.
local function less(a, b)
  local minus_a, minus_b = byte(a) == 45, byte(b) == 45
  if minus_a ~= minus_b then return minus_a end
  if minus_a then a, b = b, a end
  if #a ~= #b then return #a < #b end
  return a < b
end

local TIME = '^(%-?%d+):(%-?%d+)$'

local function later(stored, time)
  local event, created = match(stored, TIME)
  if not event then return false end -- nothing that Raytide writes: it loses
  local new_event, new_created = match(time, TIME)
  if event ~= new_event then return less(new_event, event) end
  return less(new_created, created)
end

-- Two times of 16 digits each (2001 to 2286), none below zero.
local function usual(time) return #time == 33 and byte(time, 17) == 58 and byte(time) ~= 45 and byte(time, 18) ~= 45 end

local function is_newer(stored, time)
  if not stored or stored == time then return false end
  -- Nearly always, and without taking the texts apart. What is stored may have any form: one that compares low loses rightly.
  if #stored == 33 and byte(stored, 17) == 58 and usual(time) then
    if stored < time then return false end
    if find(stored, '^%d+:%d+$') then return true end
  end
  return later(stored, time)
end

-- What HMGET and HSET need for a set of features; the gaps for values and times are filled for each group.
local function prepare(set)
  local block = floor(set / 4294967296)
  local bits, first = set - block * 4294967296, block * 32 + 1
  local times, fields = {}, {}
  for i = 0, 31 do
    if bits % 2 == 1 then
      local name = names[first + i]
      local n = #times + 1
      times[n] = name .. ':ts'
      fields[4 * n - 3], fields[4 * n - 2], fields[4 * n - 1], fields[4 * n] = name, '', times[n], ''
    end
    bits = floor(bits / 2)
  end
  return { times = times, fields = fields }
end

local function write_one(key, times, fields, value, time)
  if is_newer(call('HGET', key, times[1]), time) then return 0 end
  call('HSET', key, fields[1], value, times[1], time)
  return 1
end

local function write_newer_only(key, fields, stored)
  local n = 0
  for i = 1, #stored do
    local at = 4 * i
    if not is_newer(stored[i], fields[at]) then
      call('HSET', key, fields[at - 3], fields[at - 2], fields[at - 1], fields[at])
      n = n + 1
    end
  end
  return n
end

local function write_many(key, times, fields, position)
  local stored = call('HMGET', key, unpack(times))
  local stale = false
  for i = 1, #times do
    local time = input[position + 2 * i]
    fields[4 * i - 2], fields[4 * i] = input[position + 2 * i - 1], time
    if is_newer(stored[i], time) then stale = true end
  end
  if stale then return write_newer_only(key, fields, stored) end
  call('HSET', key, unpack(fields))
  return #times
end

local prepared, position, replaced = {}, 2, 0
for i = 1, #KEYS do
  local set = input[position]
  local group = prepared[set]
  if not group then
    group = prepare(set)
    prepared[set] = group
  end
  local times = group.times
  if #times == 1 then
    replaced = replaced + write_one(KEYS[i], times, group.fields, input[position + 1], input[position + 2])
  else
    replaced = replaced + write_many(KEYS[i], times, group.fields, position)
  end
  position = position + 1 + 2 * #times
end
return replaced
