/*
The rule a run keeps to that was begun before values had to fit their columns exactly: what an SQL or a template gave was
cast to the column's type, which rounds (7/2 for an int became 4, or 3). Its later rows are made as its first ones were.
Empty in a run that was begun since. Written by this migration alone.
*/

create table state.older_rule (rule varchar not null check (rule in ('values are cast')));

insert into state.older_rule
select 'values are cast' as rule
from state.run;
