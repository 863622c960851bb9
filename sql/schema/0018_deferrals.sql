/*
How often a deferred task was deferred, whatever for. What a simulated model does to a request follows from it, so that it is the
same in every process. Written by the turn that defers; of tasks deferred before it counted, the failures that count.
*/

alter table state.deferred_task add column deferrals integer default 1;

update state.deferred_task
set deferrals = greatest(attempts, 1);
