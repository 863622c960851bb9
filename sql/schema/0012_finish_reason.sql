/*
What answers ended for (V7): `length` at the limit of their length, so that a part is missing. Null for requests without an answer,
for endpoints that do not say, and for attempts of earlier versions. Written with each attempt; how many were cut off is
summed up in state.usage_total with the rest.
*/

alter table state.attempt add column finish_reason varchar;
alter table state.usage_total add column cut_off bigint default 0;
