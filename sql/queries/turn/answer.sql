/*
Answers that may be used again (reuse_answers). Looked up between turns, many at a time; kept by the turn that
writes what was made from them.
*/

-- name: find_answers
-- The kept answers among those asked for. The keys are literals: only those the index serves. O(keys).
select
  answer_key,
  answer
from state.answer
where answer_key in ({answer_keys});

-- name: keep_answers
-- Keeps new answers; of two to the same request the first. O(new answers).
insert into state.answer
select * from new_answer
on conflict do nothing;
