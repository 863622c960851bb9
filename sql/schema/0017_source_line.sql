/*
Rows that were dropped because a function of the user's raised know where: file and line. Null for other drops, and for those
of before.
*/

alter table state.dropped_row add column source_line varchar;
