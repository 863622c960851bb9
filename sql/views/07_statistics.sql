/*
What the columns of the dataset hold. Nothing is stored: each of these is as true as the dataset at this moment.

column_statistics reads every value once, as what it is, but for the median, which takes as long as all the rest. The other views count
values as text, of all columns alike, which takes ten times as long. So of more than a million rows these look at about a million, in
blocks spread evenly over all, and each counts for those passed over. All values pass as text through one narrow view, so that a spec of
hundreds of columns needs no view of hundreds of branches. Slots: {dataset_measures} branches that give one of the macros below for each
column of the dataset (queries/layout/statistics.sql); {dataset_medians} the same for the median of each column of numbers;
{dataset_texts} each column as text, lists and bytes as their size; {dataset_names} their names; {dataset_kinds} what is measured of each.
*/

/* What column_statistics says of a column of integers. */
create or replace macro state.measure_integer(column_name, c) as struct_pack(
  column_name := column_name,
  "values" := count(c),
  distinct_values := approx_count_distinct(c),
  minimum := min(c)::varchar,
  maximum := max(c)::varchar,
  mean := avg(c),
  stddev := stddev_samp(c::double),
  min_length := null::bigint,
  mean_length := null::double,
  max_length := null::bigint
);

/* The same of a column of other numbers. What is no finite number is left out of all but the counts. */
create or replace macro state.measure_value(column_name, c) as struct_pack(
  column_name := column_name,
  "values" := count(c),
  distinct_values := approx_count_distinct(c),
  minimum := regexp_replace((min(c::double) filter (isfinite(c::double)))::varchar, '\.0$', ''),
  maximum := regexp_replace((max(c::double) filter (isfinite(c::double)))::varchar, '\.0$', ''),
  mean := avg(c::double) filter (isfinite(c::double)),
  stddev := stddev_samp(c::double) filter (isfinite(c::double)),
  min_length := null::bigint,
  mean_length := null::double,
  max_length := null::bigint
);

/* The same of a column of times. */
create or replace macro state.measure_time(column_name, c) as struct_pack(
  column_name := column_name,
  "values" := count(c),
  distinct_values := approx_count_distinct(c),
  minimum := min(c)::varchar,
  maximum := max(c)::varchar,
  mean := null::double,
  stddev := null::double,
  min_length := null::bigint,
  mean_length := null::double,
  max_length := null::bigint
);

/* The same of texts, and of what is read as text. */
create or replace macro state.measure_length(column_name, c) as struct_pack(
  column_name := column_name,
  "values" := count(c),
  distinct_values := approx_count_distinct(c),
  minimum := null::varchar,
  maximum := null::varchar,
  mean := null::double,
  stddev := null::double,
  min_length := min(length(c))::bigint,
  mean_length := avg(length(c))::double,
  max_length := max(length(c))::bigint
);

/* The same of what has no measure: truth values, lists, bytes. */
create or replace macro state.measure_nothing(column_name, c) as struct_pack(
  column_name := column_name,
  "values" := count(c),
  distinct_values := approx_count_distinct(c),
  minimum := null::varchar,
  maximum := null::varchar,
  mean := null::double,
  stddev := null::double,
  min_length := null::bigint,
  mean_length := null::double,
  max_length := null::bigint
);

/* The median of a column of numbers. */
create or replace macro state.measure_median(column_name, c) as struct_pack(
  column_name := column_name,
  median := approx_quantile(c::double, 0.5) filter (isfinite(c::double))
);

/* Of how many blocks of rows one is looked at. */
create view state.dataset_stride as
select greatest(ceil(count(*) / 1000000), 1)::bigint as stride
from state.dataset_row;

create view main.column_statistics as
select
  c.column_name,
  c.sql_type,
  r."rows",
  r."rows" - v."values" as nulls,
  least(v.distinct_values, v."values") as distinct_values,
  v.minimum,
  v.maximum,
  v.mean,
  v.stddev,
  m.median,
  v.min_length,
  v.mean_length,
  v.max_length
from (
  {dataset_measures}
) as v
inner join state.column_def as c on v.column_name = c.column_name
left join (
  {dataset_medians}
) as m on v.column_name = m.column_name
cross join (select count(*) as "rows" from state.dataset_row) as r
order by c.position;

/* One row a cell that is not null, with what can be measured of it, and for how many rows it counts. */
create view state.dataset_value as
select
  c.column_name,
  v.value,
  s.stride,
  c.measure,
  case c.measure
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
    where (row_id // 2048) % (select stride from state.dataset_stride) = 0
  ) as d
  unpivot (value for column_name in ({dataset_names})) as u
) as v
inner join (
  select
    unnest([
      {dataset_kinds}
    ], recursive := true)
) as c on v.column_name = c.column_name
cross join state.dataset_stride as s;

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
  sum(v.stride)::bigint as "rows"
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
    v.stride,
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
  sum(stride)::bigint as "rows"
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
  sum(j.stride)::bigint as "rows"
from (
  select
    v.column_name,
    v.stride,
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
comment on column main.column_statistics.median is 'Median of numbers, estimated; of more than a million rows from a million.';
comment on column main.column_statistics.min_length is 'Characters of the shortest text.';
comment on column main.column_statistics.mean_length is 'Characters of a text, on average.';
comment on column main.column_statistics.max_length is 'Characters of the longest text.';

comment on view main.column_value is 'The most frequent values of each column of the dataset, as text; lists and bytes by their size.';
comment on column main.column_value.column_name is 'The column.';
comment on column main.column_value.value is 'The value, cut off after 200 characters.';
comment on column main.column_value."rows" is 'Finished rows that hold it; of more than a million rows estimated from a million. Which values are among the most frequent is estimated.';

comment on view main.column_histogram is 'How numbers, times and lengths of texts are distributed: 20 bins of equal width from the least to the greatest.';
comment on column main.column_histogram.column_name is 'The column.';
comment on column main.column_histogram.measure is 'value of numbers, time (seconds since the epoch) or length of texts in characters.';
comment on column main.column_histogram.bin is 'Counts from 0.';
comment on column main.column_histogram.lower is 'Where the bin begins.';
comment on column main.column_histogram.upper is 'Where it ends.';
comment on column main.column_histogram."rows" is 'Finished rows in it; of more than a million rows estimated from a million. Bins without any are left out.';

comment on view main.judge_score is 'The scores that llm-judge columns gave: one row for each score and answer.';
comment on column main.judge_score.column_name is 'The llm-judge column.';
comment on column main.judge_score.score_name is 'The score.';
comment on column main.judge_score.score is 'The answer, as text.';
comment on column main.judge_score."rows" is 'Finished rows that got it; of more than a million rows estimated from a million.';
