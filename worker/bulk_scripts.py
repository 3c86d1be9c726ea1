"""Scripts that take, start and finish many jobs in one round trip each, atomically, inside Redis.

They write what RQ 3.0 writes for one job at a time in some forty commands, and nothing else; tests hold them to RQ key
by key (tests/integration/test_bulk_scripts.py). The fence is part of the scripts, so nothing can come between a look at
a job and the writing of what follows from it. Each may be sent twice, as a client does that lost the connection before
the answer: what was done the first time is told again, and not done again.

Times are given in RQ's two spellings, since the text of a number must be the one that Python would write.
"""

from __future__ import annotations

from typing import Final

TAKE: Final = """
-- KEYS: the queue, its intermediate list. ARGV: most jobs to take, among how many the waiting ones are divided, what
-- keys of jobs begin with. Returns [id, [field, value, ...]] of each job.
local share = math.ceil(redis.call('LLEN', KEYS[1]) / tonumber(ARGV[2]))
local taken = {}
for _ = 1, math.min(tonumber(ARGV[1]), share) do
  local id = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
  if not id then break end
  taken[#taken + 1] = {id, redis.call('HGETALL', ARGV[3] .. id)}
end
return taken
"""

START: Final = """
-- KEYS: the intermediate list, the registry of started jobs, the worker, the worker's executions.
-- ARGV: 1 the worker's name, 2 the time as text, 3 as seconds, 4 when leases lapse, 5 their length, 6 how long
-- executions are kept, 7 how long their lists, 8 what keys of first-seen times begin with; then an id and the id of an
-- execution for each job. Returns for each job 1 if it is ours now, else its status, or false if it is gone.
local answers, begun = {}, false
for i = 9, #ARGV, 2 do
  local id, execution = ARGV[i], ARGV[i + 1]
  local job, entry = 'rq:job:' .. id, id .. ':' .. execution
  redis.call('LREM', KEYS[1], 1, id)
  redis.call('DEL', ARGV[8] .. id)
  local status, lease = unpack(redis.call('HMGET', job, 'status', 'bouquet_lease'))
  local answer = status
  if status == 'started' and lease == execution then
    answer = 1
  elseif status == 'queued'
      -- Or started and nobody's: its worker died between being noticed and being cleaned up.
      or status == 'started' and not (lease and redis.call('ZSCORE', KEYS[2], id .. ':' .. lease)) then
    local executions = 'rq:executions:' .. id
    redis.call('HSET', 'rq:execution:' .. entry, 'id', execution, 'job_id', id, 'created_at', ARGV[3],
      'last_heartbeat', ARGV[3], 'worker_name', ARGV[1])
    redis.call('EXPIRE', 'rq:execution:' .. entry, ARGV[6])
    redis.call('ZADD', executions, ARGV[4] + 60, execution)
    redis.call('EXPIRE', executions, ARGV[7])
    redis.call('ZADD', KEYS[2], ARGV[4], entry)
    redis.call('SADD', KEYS[4], entry)
    redis.call('HSET', job, 'last_heartbeat', ARGV[2], 'status', 'started', 'started_at', ARGV[2],
      'worker_name', ARGV[1], 'bouquet_lease', execution)
    redis.call('HINCRBY', job, 'bouquet_starts', 1)
    redis.call('PERSIST', job)
    answer, begun = 1, true
  end
  answers[#answers + 1] = answer
end
if begun then
  redis.call('EXPIRE', KEYS[4], ARGV[7])
  redis.call('HSET', KEYS[3], 'state', 'busy')
  redis.call('EXPIRE', KEYS[3], ARGV[5])
end
return answers
"""

FINISH: Final = """
-- Of jobs that have succeeded.
-- KEYS: the registry of started jobs, that of finished ones, the worker, the worker's executions.
-- ARGV: 1 the worker's name, 2 the time as text, 3 as seconds, 4 as whole seconds, 5 the length of a lease; then for
-- each job its id, the id of its execution, when that began, the seconds that it took, how long the result is kept, and
-- the result. Returns for each job 1 if it has been booked, 0 if it is no longer ours, 2 if others depend on it: those
-- are booked one by one, with RQ's own means.
local answers, booked = {}, 0
for i = 6, #ARGV, 6 do
  local id, execution, began, seconds, ttl, result = unpack(ARGV, i, i + 5)
  local job, entry, results = 'rq:job:' .. id, id .. ':' .. execution, 'rq:results:' .. id
  local status, lease = unpack(redis.call('HMGET', job, 'status', 'bouquet_lease'))
  local answer = 0
  if lease == execution and status == 'finished' then
    answer = 1
  elseif lease == execution and status == 'started' then
    if redis.call('EXISTS', job .. ':dependents') == 1 then
      answer = 2
    else
      redis.call('DEL', 'rq:execution:' .. entry)
      redis.call('ZREM', KEYS[1], entry)
      redis.call('ZREM', 'rq:executions:' .. id, execution)
      redis.call('SREM', KEYS[4], entry)
      redis.call('HSET', job, 'status', 'finished', 'ended_at', ARGV[2])
      redis.call('XADD', results, 'MAXLEN', '~', 10, '*', 'type', 1, 'worker_name', ARGV[1], 'return_value', result,
        'execution_id', execution, 'execution_started_at', began, 'execution_ended_at', ARGV[3])
      redis.call('EXPIRE', results, ttl)
      redis.call('ZADD', KEYS[2], ARGV[4] + ttl, id)
      redis.call('EXPIRE', job, ttl)
      redis.call('EXPIRE', 'rq:job::' .. id .. ':dependencies', ttl)  -- two colons, as RQ has them
      redis.call('HINCRBYFLOAT', KEYS[3], 'total_working_time', seconds)
      answer, booked = 1, booked + 1
    end
  end
  answers[#answers + 1] = answer
end
if booked > 0 then
  redis.call('HINCRBY', KEYS[3], 'successful_job_count', booked)
  redis.call('EXPIRE', KEYS[3], ARGV[5])
end
return answers
"""
