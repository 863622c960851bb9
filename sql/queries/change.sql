/*
What another spec would change in a run database, and what that would cost: read before anything is written.
*/

-- name: settled_cells
-- How many cells each generator has made or skipped, in finished and in live rows. O(distinct done sets of live rows + row groups).
select
  p.generator,
  max(p.done + p.skipped)::bigint as cells
from main.progress as p
group by p.generator;

-- name: spent_per_generator
-- What the requests of each generator cost so far. O(attempts).
select
  a.generator,
  count(*) as requests,
  sum(a.cost_usd) as cost_usd
from main.attempt as a
where a.model is not null
group by a.generator;
