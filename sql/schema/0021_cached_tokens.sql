/*
Tokens of the input that a server had in its cache, or wrote into it: parts of input_tokens with prices of their own. Null for
attempts of before. Of summed up attempts also how many had a price: what no model had a price for cost nobody knows what, which
is not 0. Written with each attempt.
*/

alter table state.attempt add column cached_tokens bigint;
alter table state.attempt add column cache_write_tokens bigint;
alter table state.usage_total add column cached_tokens bigint default 0;
alter table state.usage_total add column cache_write_tokens bigint default 0;
alter table state.usage_total add column priced bigint default 0;

update state.usage_total set priced = attempts
where cost_usd > 0;
