-- When each request of the benchmark `provider` started and ended, in seconds since the epoch. O(requests).
select
  epoch_us(started_at) / 1e6 as started,
  epoch_us(started_at) / 1e6 + duration_ms / 1e3 as ended
from attempt
where outcome = 'succeeded'
order by started;
