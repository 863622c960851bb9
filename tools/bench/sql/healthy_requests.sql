-- Requests that were answered, the time from the first one's start to the last one's end in seconds, and those refused.
select
  count(*) filter (where outcome = 'succeeded') as requests,
  max(epoch(started_at) + duration_ms / 1000) filter (where outcome = 'succeeded')
  - min(epoch(started_at)) filter (where outcome = 'succeeded') as seconds,
  count(*) filter (where outcome = 'rate_limited') as refused
from attempt
