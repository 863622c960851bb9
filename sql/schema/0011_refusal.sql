/*
Endpoints that have refused every call (429) since a point in time, in runs whose patience has an end (give_up_after_s). Written by
the turn that records the first refusal, removed by the one that records an answer: so patience is neither lost with a
process nor spent by each task anew.
*/

create table state.refusal (
  resource varchar not null,
  since timestamp not null
);
