/*
What the columns of the dataset hold. Nothing is stored: each of these is as true as the dataset at this moment, and costs a scan of
it. All values pass as text through one narrow view, so that a spec of hundreds of columns needs no view of hundreds of branches.
Slots: {dataset_texts} each column of the dataset as text, lists and bytes as their size; {dataset_names} their names.
*/

/* One row a cell that is not null, with what can be measured of it. */
create view state.dataset_value as
select
  c.column_name,
  v.value,
  case
    when upper(c.sql_type) = 'BOOLEAN' or c.sql_type like '%]' then null
    when regexp_full_match(upper(c.sql_type), 'U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|REAL|(DECIMAL|NUMERIC).*')
      then 'value'
    when regexp_full_match(upper(c.sql_type), 'DATE|DATETIME|TIMESTAMP.*') then 'time'
    else 'length'
  end as measure,
  case measure
    when 'value' then try_cast(v.value as double)
    when 'time' then epoch(try_cast(v.value as timestamp))
    when 'length' then length(v.value)::double
  end as number
from (
  select
    u.column_name, -- noqa: RF01
    u.value -- noqa: RF01
  from (
    select
      row_id,
      {dataset_texts}
    from state.dataset_row
  ) as d
  unpivot (value for column_name in ({dataset_names})) as u
) as v
inner join state.column_def as c on v.column_name = c.column_name;

create view main.column_statistics as
select
  c.column_name,
  c.sql_type,
  r."rows",
  r."rows" - coalesce(v."values", 0) as nulls,
  coalesce(v.distinct_values, 0) as distinct_values,
  case v.measure
    when 'value' then regexp_replace(v.least::varchar, '\.0$', '')
    when 'time' then v.first_text
  end as minimum,
  case v.measure
    when 'value' then regexp_replace(v.greatest::varchar, '\.0$', '')
    when 'time' then v.last_text
  end as maximum,
  case when v.measure = 'value' then v.mean end as mean,
  case when v.measure = 'value' then v.stddev end as stddev,
  case when v.measure = 'value' then v.median end as median,
  case when v.measure = 'length' then v.least::bigint end as min_length,
  case when v.measure = 'length' then v.mean end as mean_length,
  case when v.measure = 'length' then v.greatest::bigint end as max_length
from state.column_def as c
cross join (select count(*) as "rows" from state.dataset_row) as r
left join (
  select
    column_name,
    measure,
    count(*) as "values",
    approx_count_distinct(value) as distinct_values,
    min(value) filter (where measure = 'time') as first_text,
    max(value) filter (where measure = 'time') as last_text,
    min(number) filter (where isfinite(number)) as least,
    max(number) filter (where isfinite(number)) as greatest,
    avg(number) filter (where isfinite(number)) as mean,
    stddev_samp(number) filter (where isfinite(number)) as stddev,
    approx_quantile(number, 0.5) filter (where isfinite(number)) as median
  from state.dataset_value
  group by
    column_name,
    measure
) as v on c.column_name = v.column_name
where c.in_dataset
order by c.position;

create view main.column_value as
with candidate as (
  select
    column_name,
    unnest(approx_top_k(left(value, 200), 12)) as value
  from state.dataset_value
  group by column_name
)

select
  v.column_name,
  left(v.value, 200) as value,
  count(*) as "rows"
from state.dataset_value as v
inner join candidate as c on v.column_name = c.column_name and left(v.value, 200) = c.value
group by
  v.column_name,
  left(v.value, 200);

create view main.column_histogram as
with bound as (
  select
    column_name,
    measure,
    min(number) as least,
    greatest(max(number) - min(number), 0) as span
  from state.dataset_value
  where isfinite(number)
  group by
    column_name,
    measure
),

binned as (
  select
    b.column_name,
    b.measure,
    b.least,
    b.span / 20 as width,
    case when b.span > 0 then least(floor((v.number - b.least) / b.span * 20), 19) else 0 end::integer as bin
  from state.dataset_value as v
  inner join bound as b on v.column_name = b.column_name
  where isfinite(v.number)
)

select
  column_name,
  measure,
  bin,
  least + bin * width as lower,
  least + (bin + 1) * width as upper,
  count(*) as "rows"
from binned
group by
  column_name,
  measure,
  bin,
  least,
  width;

create view main.judge_score as
select
  j.column_name,
  j.score_name,
  j.judgement ->> ('$."' || replace(j.score_name, '"', '\"') || '".score') as score,
  count(*) as "rows"
from (
  select
    v.column_name,
    v.value::json as judgement,
    unnest(json_keys(v.value::json)) as score_name
  from state.dataset_value as v
  inner join state.column_def as c on v.column_name = c.column_name
  inner join state.generator as g on c.generator = g.generator
  where g.column_type = 'llm-judge' and not c.is_side_effect
) as j
group by
  j.column_name,
  j.score_name,
  score;

comment on view main.column_statistics is 'What each column of the dataset holds; one row a column.';
comment on column main.column_statistics.column_name is 'The column.';
comment on column main.column_statistics.sql_type is 'Its type.';
comment on column main.column_statistics."rows" is 'Finished rows.';
comment on column main.column_statistics.nulls is 'How many of them hold null.';
comment on column main.column_statistics.distinct_values is 'Different values, estimated.';
comment on column main.column_statistics.minimum is 'The least of numbers and times, as text.';
comment on column main.column_statistics.maximum is 'The greatest of numbers and times, as text.';
comment on column main.column_statistics.mean is 'Mean of numbers.';
comment on column main.column_statistics.stddev is 'Standard deviation of numbers, of a sample.';
comment on column main.column_statistics.median is 'Median of numbers, estimated.';
comment on column main.column_statistics.min_length is 'Characters of the shortest text.';
comment on column main.column_statistics.mean_length is 'Characters of a text, on average.';
comment on column main.column_statistics.max_length is 'Characters of the longest text.';

comment on view main.column_value is 'The most frequent values of each column of the dataset, as text; lists and bytes by their size.';
comment on column main.column_value.column_name is 'The column.';
comment on column main.column_value.value is 'The value, cut off after 200 characters.';
comment on column main.column_value."rows" is 'Finished rows that hold it, counted; which values are among the most frequent is estimated.';

comment on view main.column_histogram is 'How numbers, times and lengths of texts are distributed: 20 bins of equal width from the least to the greatest.';
comment on column main.column_histogram.column_name is 'The column.';
comment on column main.column_histogram.measure is 'value of numbers, time (seconds since the epoch) or length of texts in characters.';
comment on column main.column_histogram.bin is 'Counts from 0.';
comment on column main.column_histogram.lower is 'Where the bin begins.';
comment on column main.column_histogram.upper is 'Where it ends.';
comment on column main.column_histogram."rows" is 'Finished rows in it; bins without any are left out.';

comment on view main.judge_score is 'The scores that llm-judge columns gave: one row for each score and answer.';
comment on column main.judge_score.column_name is 'The llm-judge column.';
comment on column main.judge_score.score_name is 'The score.';
comment on column main.judge_score.score is 'The answer, as text.';
comment on column main.judge_score."rows" is 'Finished rows that got it.';
