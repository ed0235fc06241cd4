"""What the hot tier does within Redis, in one step each: two scripts in its Lua.

Times of bar closes have more digits than a number of Lua holds exactly, so they are compared as
text.
"""

_LATER = """
local function later(one, other)
  return #one > #other or (#one == #other and one > other)
end
"""

# KEYS: where the newest rows stand. ARGV: for each key a field, empty where the key is a string,
# and a row as JSON. A row takes the place of one that closed at the same time or before.
NEWEST = (
    _LATER
    + """
local function closed(row)
  return string.match(row, '"ts_close":(%d+)')  -- columns of JSON stand behind it, or escaped
end

for i, key in ipairs(KEYS) do
  local field, row = ARGV[2 * i - 1], ARGV[2 * i]
  local found
  if field == '' then
    found = redis.call('GET', key)
  else
    found = redis.call('HGET', key, field)
  end
  if not found or not later(closed(found), closed(row)) then
    if field == '' then
      redis.call('SET', key, row)
    else
      redis.call('HSET', key, field, row)
    end
  end
end
"""
)

# KEYS: the stream, then each signal's own key. ARGV: the channel, how long a signal is kept (ms),
# then for each signal its id, symbol, ts_close, both parts of its place in the stream, and JSON.
# Returns how many were too old to be kept.
SIGNALS = (
    _LATER
    + """
local stream, channel, keep = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local top, after = '0', '0'  -- both parts of the newest place
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      top, after = string.match(info[i + 1], '(%d+)-(%d+)')
    end
  end
end

local function is_at(place, id)
  local found = redis.call('XRANGE', stream, place, place)[1]
  return found and found[2][2] == id
end

local old = 0
for i = 2, #KEYS do
  local id, symbol, ts_close, ms, n, row = unpack(ARGV, 6 * i - 9, 6 * i - 4)
  local age = math.max(0, top - ms)
  if age < keep then
    local place = ms .. '-' .. n
    local is_next = later(ms, top) or (ms == top and later(n, after))
    local known = redis.call('EXISTS', KEYS[i]) == 1 or (not is_next and is_at(place, id))
    redis.call('SET', KEYS[i], row, 'PXAT', string.format('%.0f', now + keep - age))
    if not known then
      if not is_next then
        place = top .. '-*'  -- a stream only grows at its end: it comes late, but it comes
      end
      place = redis.call(
        'XADD', stream, place, 'signal_id', id, 'symbol', symbol, 'ts_close', ts_close)
      top, after = string.match(place, '(%d+)-(%d+)')
      redis.call('PUBLISH', channel, row)
    end
  else
    old = old + 1
  end
end
return old
"""
)
