"""What the processes of a cluster keep in Redis, and the scripts that change it, each one atomic.

Keys, all below a prefix `P` that holds the database number, because channels of Redis' pub/sub do not:

========================  ========================================================================
``P nodes``               sorted set: node → when its lease ends, in ms of Redis' own clock
``P dead``                set of nodes whose lease has ended and whose entries are being cleared
``P room:<channel>``      hash: ``<node>\\n<peer id>`` → that member as JSON
``P peer:<peer id>``      hash: node → how many connections the peer has there
``P in:<node>``           set of ``<channel>\\n<peer id>``: the node's entries in rooms
``P peers:<node>``        set of peer ids: the node's entries among peers
``P seq``                 counter of all changes of presence
``P usage:<month>``       hash: messages and peak of one month
``P load``                hash: node → connections
========================  ========================================================================

A node is one stay of one process in the cluster; a process that comes back comes back as a new node. Names
hold no control characters, so a line feed separates them.

Published: changes of presence on ``P p:<channel>``, messages on ``P m:<channel>``, and what is for one node
alone on ``P n:<node>``.
"""

from __future__ import annotations

from typing import Final

#: How many entries of a dead node one call clears: some milliseconds of Redis' time.
REAP_BATCH: Final = 500
#: The usage of a month is kept this long after it was last written.
USAGE_TTL_S: Final = 40 * 86_400

_COMMON = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function tell(node, channel, sign, member)
  local seq = string.format('%.0f', redis.call('INCR', P..'seq'))
  redis.call('PUBLISH', P..'p:'..channel, node..'\\n'..seq..'\\n'..sign..member)
end
local function leave(node, channel, peer)
  local room, field = P..'room:'..channel, node..'\\n'..peer
  local member = redis.call('HGET', room, field)
  if member then
    redis.call('HDEL', room, field)
    tell(node, channel, '-', member)
  end
end
local function is_alive(node)
  local ends_ms = redis.call('ZSCORE', P..'nodes', node)
  return ends_ms and tonumber(ends_ms) >= now_ms()
end
local BURIED = redis.error_reply('BURIED the lease of this node has ended')
"""

#: A node whose lease has ended writes nothing more and is never alive again: others may have looked away
#: from its entries, and those written after they were cleared would stay for ever.
_JOIN = """
local node, channel, peer, member = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_alive(node) then return BURIED end
redis.call('HSET', P..'room:'..channel, node..'\\n'..peer, member)
redis.call('SADD', P..'in:'..node, channel..'\\n'..peer)
tell(node, channel, '+', member)
return 1
"""

_LEAVE = """
local node, channel, peer = ARGV[1], ARGV[2], ARGV[3]
redis.call('SREM', P..'in:'..node, channel..'\\n'..peer)
leave(node, channel, peer)
return 1
"""

_PEER = """
local node, peer, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not is_alive(node) then return BURIED end
if count > 0 then
  redis.call('HSET', P..'peer:'..peer, node, count)
  redis.call('SADD', P..'peers:'..node, peer)
else
  redis.call('HDEL', P..'peer:'..peer, node)
  redis.call('SREM', P..'peers:'..node, peer)
end
return 1
"""

#: → [seq, [node alive, …], [field, member, …]]
_LOAD = """
return {
  tonumber(redis.call('GET', P..'seq') or 0),
  redis.call('ZRANGEBYSCORE', P..'nodes', now_ms(), '+inf'),
  redis.call('HGETALL', P..'room:'..ARGV[1]),
}
"""

#: Something for a peer, to every other node that it is connected to → how many connections heard of it.
#: A node without a listener has just died: its connections do not count.
_NOTIFY = """
local node, peer, note = ARGV[1], ARGV[2], ARGV[3]
local reached = 0
local where = redis.call('HGETALL', P..'peer:'..peer)
for i = 1, #where, 2 do
  if where[i] ~= node and redis.call('PUBLISH', P..'n:'..where[i], note) > 0 then
    reached = reached + tonumber(where[i + 1])
  end
end
return reached
"""

#: Renews the lease and counts; nodes whose lease has ended since `judges_ms` ago are declared dead.
#: → [how many were found dead, how many wait to be cleared, connections, messages, peak]
_BEAT = """
local node, lease_ms, is_new, judges_ms, note = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local connections, messages, usage = ARGV[6], ARGV[7], P..'usage:'..ARGV[8]
if is_new == '0' and not is_alive(node) then return BURIED end
local now = now_ms()
redis.call('ZADD', P..'nodes', now + lease_ms, node)
redis.call('PUBLISH', P..'n:'..node, note)
local from = '-inf'
if judges_ms ~= '' then from = string.format('%.0f', now - tonumber(judges_ms)) end
local found = redis.call('ZRANGEBYSCORE', P..'nodes', from, '('..string.format('%.0f', now))
for _, other in ipairs(found) do
  redis.call('ZREM', P..'nodes', other)
  redis.call('HDEL', P..'load', other)
  redis.call('SADD', P..'dead', other)
end
redis.call('HSET', P..'load', node, connections)
local total = 0
for _, count in ipairs(redis.call('HVALS', P..'load')) do total = total + tonumber(count) end
local sent = redis.call('HINCRBY', usage, 'messages', messages)
local peak = math.max(total, tonumber(redis.call('HGET', usage, 'peak') or 0))
redis.call('HSET', usage, 'peak', peak)
redis.call('EXPIRE', usage, USAGE_TTL_S)
return {#found, redis.call('SCARD', P..'dead'), total, sent, peak}
"""

_BURY = """
local node = ARGV[1]
redis.call('ZREM', P..'nodes', node)
redis.call('HDEL', P..'load', node)
redis.call('SADD', P..'dead', node)
return 1
"""

#: Clears some entries of dead nodes → how many nodes are left to be cleared.
_REAP = """
local budget = REAP_BATCH
for _, node in ipairs(redis.call('SMEMBERS', P..'dead')) do
  local rooms = redis.call('SPOP', P..'in:'..node, budget)
  for _, entry in ipairs(rooms) do
    local at = string.find(entry, '\\n', 1, true)
    leave(node, string.sub(entry, 1, at - 1), string.sub(entry, at + 1))
  end
  budget = budget - #rooms
  local peers = {}
  if budget > 0 then peers = redis.call('SPOP', P..'peers:'..node, budget) end
  for _, peer in ipairs(peers) do redis.call('HDEL', P..'peer:'..peer, node) end
  budget = budget - #peers
  if budget <= 0 then break end
  redis.call('SREM', P..'dead', node)
end
return redis.call('SCARD', P..'dead')
"""

_SCRIPTS = {
    "join": _JOIN,
    "leave": _LEAVE,
    "peer": _PEER,
    "load": _LOAD,
    "notify": _NOTIFY,
    "beat": _BEAT,
    "bury": _BURY,
    "reap": _REAP,
}


def scripts(prefix: str) -> dict[str, str]:
    """Each script by name, for keys that begin with `prefix`."""
    constants = f"local P, REAP_BATCH, USAGE_TTL_S = '{prefix}', {REAP_BATCH}, {USAGE_TTL_S}\n"
    return {name: constants + _COMMON + body for name, body in _SCRIPTS.items()}
