/*
The random numbers of Rowmill, and the samplers made of them.

A sampled value is a function of (run seed, column name, row_id) and of nothing else (rule V1): it is the same after a
resume, in another order, under another row-group size, with another number of threads. There is no generator that is
advanced from row to row, hence no state to save, and any row can be made alone.

The basis is the 128-bit number of md5('<seed>:<column name>:<row_id>:<draw>'): MD5 is not asked to keep a secret
here, but to be defined by a standard (RFC 1321), which the engine's hash() is not, and to mix well. One number serves
one value: its top 53 bits make one uniform number, its lowest 53 bits a second one, independent of the first. DuckDB
offers md5_number_lower for the half we take the uniform number from, but as a macro over hexadecimal digits; the shift
below gives the same bits at a fifth of the cost. (md5_number reads the digest as a little-endian number, as do all
machines DuckDB runs on.)

Some macros name their number several times. The engine removes such common subexpressions within one projection, so
that MD5 is computed once a value (a test looks at the plan), but not inside the branches of a CASE: whoever needs a
condition around a sampler puts the sampler into a subquery and the condition around that.

These are TEMP macros: each connection makes them when it opens, they are no part of the run database, and a new version
of Rowmill may improve them. What it may never change is a value: that would change datasets half made. Every macro the
store calls takes (seed, column_name, row_id, …). Costs are those of one value of a million, made and written to a file
by one INSERT … SELECT on two threads of a machine with two cores; 0.02 µs of each are the writing of a number.
*/

-- name: draw_number
-- The 128-bit number of one draw, from 0 to 2^128 - 1; a value that needs more than one takes draw 0, 1, 2, …
-- Cost: 0.1 µs, of which about half is MD5.
create or replace temp macro draw_number(seed, column_name, row_id, draw) as
  md5_number(seed || ':' || column_name || ':' || row_id || (':' || draw));

-- name: unit_uniform
-- A double in [0, 1): a multiple of 2^-53, every one of them equally likely, never 1.
-- Cost: 0.11 µs.
create or replace temp macro unit_uniform(seed, column_name, row_id, draw) as
  (draw_number(seed, column_name, row_id, draw) >> 75)::double * 1.1102230246251565e-16;

-- name: unit_gaussian
-- A standard normal deviate by the basic transform of Box and Muller (Annals of Mathematical Statistics 29, 1958,
-- 610-611) from both ends of one number: 1 - u is in (0, 1], so the logarithm is finite, and nothing lies beyond 8.58
-- standard deviations. Rounded to 12 decimals, so that the last bit of ln and cos, which differs between mathematical
-- libraries, hardly ever shows.
-- Cost: 0.14 µs.
create or replace temp macro unit_gaussian(seed, column_name, row_id, draw) as
  round(
    sqrt(-2.0e0 * ln(1.0e0 - (draw_number(seed, column_name, row_id, draw) >> 75)::double * 1.1102230246251565e-16))
    * cos(
      6.283185307179586e0
      * ((draw_number(seed, column_name, row_id, draw) & 9007199254740991)::double * 1.1102230246251565e-16)
    ),
    12
  );

-- name: unit_index
-- A whole number from 0 to count - 1, all equally likely as nearly as 53 bits allow; it never rounds up to count.
-- Cost: 0.11 µs.
create or replace temp macro unit_index(seed, column_name, row_id, draw, count) as
  floor(unit_uniform(seed, column_name, row_id, draw) * count)::bigint;

-- name: sample_uniform
-- A double from low up to high (high itself only by rounding), rounded to decimal_places unless that is null.
-- Cost: 0.12 µs.
create or replace temp macro sample_uniform(seed, column_name, row_id, low, high, decimal_places) as
  case
    when decimal_places is null
      then low::double + (high::double - low::double) * unit_uniform(seed, column_name, row_id, 0)
    else round(
      low::double + (high::double - low::double) * unit_uniform(seed, column_name, row_id, 0),
      decimal_places::integer
    )
  end;

-- name: sample_gaussian
-- A normally distributed double of this mean and standard deviation, rounded to decimal_places unless that is null.
-- Cost: 0.14 µs.
create or replace temp macro sample_gaussian(seed, column_name, row_id, mean, stddev, decimal_places) as
  case
    when decimal_places is null
      then mean::double + stddev::double * unit_gaussian(seed, column_name, row_id, 0)
    else round(
      mean::double + stddev::double * unit_gaussian(seed, column_name, row_id, 0),
      decimal_places::integer
    )
  end;

-- name: sample_bernoulli
-- 1 with probability p, otherwise 0.
-- Cost: 0.11 µs.
create or replace temp macro sample_bernoulli(seed, column_name, row_id, p) as
  (unit_uniform(seed, column_name, row_id, 0) < p::double)::bigint;

-- name: sample_category
-- One of the choices (a list), all equally likely.
-- Cost: 0.14 µs as text, 0.12 µs as a number, whatever the number of choices.
create or replace temp macro sample_category(seed, column_name, row_id, choices) as
  choices[1 + unit_index(seed, column_name, row_id, 0, len(choices))];

-- name: sample_weighted_category
-- One of several choices with given weights, by Walker's alias method (ACM TOMS 3, 1977, 253-256): n equally likely
-- slots, slot i holding choice 2i + 1 below its threshold and choice 2i + 2 from it on, so that a look-up never searches.
-- Cost: as sample_category. The tables come from rowmill.generators.samplers.alias_table.
create or replace temp macro sample_weighted_category(seed, column_name, row_id, slot_choices, thresholds) as
  slot_choices[
    1
    + 2 * unit_index(seed, column_name, row_id, 0, len(thresholds))
    + (
      unit_uniform(seed, column_name, row_id, 0) * len(thresholds)
      - unit_index(seed, column_name, row_id, 0, len(thresholds))
      >= thresholds[1 + unit_index(seed, column_name, row_id, 0, len(thresholds))]
    )::bigint
  ];

-- name: sample_subcategory
-- One of the choices that belong to the parent's value: parents lists the values as text, choices the list of choices
-- of each; null where the parent's value is not listed.
-- Cost: 0.14 µs for a few parents, 0.22 µs for 200 (their list is searched).
create or replace temp macro sample_subcategory(seed, column_name, row_id, parent, parents, choices) as
  choices[list_position(parents, parent::varchar)][
    1 + unit_index(seed, column_name, row_id, 0, len(choices[list_position(parents, parent::varchar)]))
  ];

-- name: sample_uuid
-- A UUID of version 4 and the RFC 9562 variant as lower-case text: 122 bits of the number, the other six as the
-- standard wants them.
-- Cost: 0.14 µs, and 0.3 to 0.5 µs to write 36 characters that cannot be compressed.
create or replace temp macro sample_uuid(seed, column_name, row_id) as
  (
    (draw_number(seed, column_name, row_id, 0) & 340282366920937330081583660661634760703)
    | 302240678275694148452352
  )::uuid::varchar;

-- name: sample_uuid_text
-- The first length characters of such a UUID, in upper case if asked for, behind a prefix that stays as it is.
-- Cost: 0.26 µs for the short form.
create or replace temp macro sample_uuid_text(seed, column_name, row_id, prefix, length, uppercase) as
  prefix || case
    when uppercase then upper(left(sample_uuid(seed, column_name, row_id), length))
    else left(sample_uuid(seed, column_name, row_id), length)
  end;

-- name: sample_datetime_by_seconds
-- A timestamp: a whole number of steps after first_at, from 0 to steps - 1, all equally likely.
-- Cost: 0.12 µs.
create or replace temp macro sample_datetime_by_seconds(seed, column_name, row_id, first_at, step_s, steps) as
  first_at::timestamp + to_seconds(unit_index(seed, column_name, row_id, 0, steps) * step_s::bigint);

-- name: sample_datetime_by_months
-- The same with steps of calendar months; a day that a month does not have becomes that month's last.
-- Cost: 0.13 µs.
create or replace temp macro sample_datetime_by_months(seed, column_name, row_id, first_at, step_months, steps) as
  first_at::timestamp + to_months((unit_index(seed, column_name, row_id, 0, steps) * step_months)::integer);

-- name: sample_timedelta
-- A timestamp: reference plus a whole number of steps, from dt_min to dt_min + steps - 1, all equally likely.
-- Cost: 0.13 µs.
create or replace temp macro sample_timedelta(seed, column_name, row_id, reference, dt_min, step_s, steps) as
  reference::timestamp + to_seconds((dt_min + unit_index(seed, column_name, row_id, 0, steps)) * step_s::bigint);

-- name: sample_count
-- A whole number whose distribution is a table: Walker's alias method as in sample_weighted_category, but with the second
-- uniform number of the draw to choose within a slot, so that every number is as likely as it should be to 2^-53 / slots.
-- Cost: as sample_category. The tables, exact to 96 bits, come from rowmill.generators.samplers.count_table.
create or replace temp macro sample_count(seed, column_name, row_id, slot_counts, thresholds) as
  slot_counts[
    1
    + 2 * unit_index(seed, column_name, row_id, 0, len(thresholds))
    + (
      (draw_number(seed, column_name, row_id, 0) & 9007199254740991)::double * 1.1102230246251565e-16
      >= thresholds[1 + unit_index(seed, column_name, row_id, 0, len(thresholds))]
    )::bigint
  ];

-- name: stirling_error
-- ln(k!) less Stirling's formula, from k = 16 on to 16 digits: the series of Loader, "Fast and accurate computation of
-- binomial probabilities" (2000), which keeps its accuracy where the difference of two lgamma would lose it.
create or replace temp macro stirling_error(k) as
  (
    0.083333333333333333e0
    - (
      0.0027777777777777778e0
      - (0.00079365079365079365e0 - (0.00059523809523809524e0 - 0.00084175084175084175e0 / (k * k)) / (k * k)) / (k * k)
    ) / (k * k)
  ) / k;

-- name: odd_powers
-- s/3 + s²/5 + s³/7 + … for s up to 0.01: what log_deviance sums up.
create or replace temp macro odd_powers(s) as
  s * (1.0e0 / 3.0e0 + s * (0.2e0 + s * (1.0e0 / 7.0e0 + s * (1.0e0 / 9.0e0 + s * (
    1.0e0 / 11.0e0 + s * (1.0e0 / 13.0e0 + s * (1.0e0 / 15.0e0 + s / 17.0e0))
  )))));

-- name: log_deviance
-- k ln(k / mean) + mean - k, without cancellation where k is near the mean: the series of Loader (2000).
create or replace temp macro log_deviance(k, mean) as
  case
    when abs(k - mean) < 0.1e0 * (k + mean)
      then (k - mean) * ((k - mean) / (k + mean))
        + 2.0e0 * k * ((k - mean) / (k + mean)) * odd_powers(((k - mean) / (k + mean)) * ((k - mean) / (k + mean)))
    else k * ln(k / mean) + mean - k
  end;

-- name: log_poisson_density
-- The logarithm of the probability of k by the saddle-point expansion of Loader (2000), for k from 16 on.
create or replace temp macro log_poisson_density(k, mean) as
  -stirling_error(k) - log_deviance(k, mean) - 0.5e0 * ln(6.283185307179586e0 * k);

-- name: log_binomial_density
-- The same for k successes in n trials, k and n - k from 16 on.
create or replace temp macro log_binomial_density(k, n, p) as
  stirling_error(n)
  - stirling_error(k)
  - stirling_error(n - k)
  - log_deviance(k, n * p)
  - log_deviance(n - k, n * (1.0e0 - p))
  + 0.5e0 * ln(n / (6.283185307179586e0 * k * (n - k)));

-- name: first_value_of
-- The first value of a list that is not null, or null.
create or replace temp macro first_value_of(candidates) as
  list_filter(candidates, lambda row_index: row_index is not null)[1];

-- name: poisson_attempt
-- One attempt at a Poisson number of a mean from 10 on, or null: the transformed rejection with squeeze (PTRS) of Hörmann
-- (Insurance: Mathematics and Economics 12, 1993, 39-45); a, b, inverse_alpha and squeeze are its constants for this mean. Numbers
-- below 16, which the saddle point does not serve, are refused: with a mean from 100 on they come up once in 10^24 draws.
-- Cost: 0.5 µs; nine attempts of ten succeed.
create or replace temp macro poisson_attempt(seed, column_name, row_id, draw, mean, a, b, inverse_alpha, squeeze) as
  list_transform(
    list_transform(
      list_transform(
        [draw_number(seed, column_name, row_id, draw)],
        lambda n: {
          'u': (n >> 75)::double * 1.1102230246251565e-16 - 0.5e0,
          'v': 1.0e0 - (n & 9007199254740991)::double * 1.1102230246251565e-16
        }
      ),
      lambda t: {
        'us': 0.5e0 - abs(t.u),
        'v': t.v,
        'k': floor((2.0e0 * a / (0.5e0 - abs(t.u)) + b) * t.u + mean + 0.43e0)
      }
    ),
    lambda t: case
      when t.us >= 0.07e0 and t.v <= squeeze then t.k
      when t.k < 16 or (t.us < 0.013e0 and t.v > t.us) then null
      when ln(t.v * inverse_alpha / (a / (t.us * t.us) + b)) <= log_poisson_density(t.k, mean) then t.k
    end
  )[1];

-- name: sample_poisson
-- A Poisson number of a mean from 100 on: draw 0, 1, 2, … until an attempt succeeds; after 60 failures, which happen
-- once in 10^50 values, the mean. Below 100, sample_count does it.
-- Cost: 0.6 µs, reckoned by CPU time from that of sample_uniform.
create or replace temp macro sample_poisson(seed, column_name, row_id, mean, a, b, inverse_alpha, squeeze) as
  coalesce(
    poisson_attempt(seed, column_name, row_id, 0, mean, a, b, inverse_alpha, squeeze),
    first_value_of(
      list_transform(
        range(1, 5),
        lambda row_index: poisson_attempt(seed, column_name, row_id, row_index, mean, a, b, inverse_alpha, squeeze)
      )
    ),
    first_value_of(
      list_transform(
        range(5, 60),
        lambda row_index: poisson_attempt(seed, column_name, row_id, row_index, mean, a, b, inverse_alpha, squeeze)
      )
    ),
    floor(mean)
  )::bigint;

-- name: binomial_attempt
-- One attempt at the number of successes in n trials of probability p up to a half, n p from 10 on, or null: the transformed
-- rejection with squeeze (BTRS) of Hörmann (Journal of Statistical Computation and Simulation 46, 1993, 101-110), with its
-- constants; log_peak is the logarithm of the probability of its most likely number. Numbers below 16 as in poisson_attempt.
-- Cost: 1 µs; nine attempts of ten succeed.
create or replace temp macro binomial_attempt(seed, column_name, row_id, draw, n, p, a, b, alpha, squeeze, log_peak) as
  list_transform(
    list_transform(
      list_transform(
        [draw_number(seed, column_name, row_id, draw)],
        lambda r: {
          'u': (r >> 75)::double * 1.1102230246251565e-16 - 0.5e0,
          'v': 1.0e0 - (r & 9007199254740991)::double * 1.1102230246251565e-16
        }
      ),
      lambda t: {
        'us': 0.5e0 - abs(t.u),
        'v': t.v,
        'k': floor((2.0e0 * a / (0.5e0 - abs(t.u)) + b) * t.u + n * p + 0.5e0)
      }
    ),
    lambda t: case
      when t.us >= 0.07e0 and t.v <= squeeze then t.k
      when t.k < 16 or n - t.k < 16 then null
      when ln(t.v * alpha / (a / (t.us * t.us) + b)) <= log_binomial_density(t.k, n, p) - log_peak then t.k
    end
  )[1];

-- name: sample_binomial
-- The number of successes in n trials of probability p up to a half, n p from 100 on, by attempts as in sample_poisson; where
-- flipped, the number of failures instead, which serves probabilities above a half. Below 100, sample_count does it.
-- Cost: 1.2 µs, reckoned by CPU time from that of sample_uniform.
create or replace temp macro sample_binomial(seed, column_name, row_id, n, p, flipped, a, b, alpha, squeeze, log_peak) as
  list_transform(
    [
      coalesce(
        binomial_attempt(seed, column_name, row_id, 0, n, p, a, b, alpha, squeeze, log_peak),
        first_value_of(
          list_transform(
            range(1, 5),
            lambda row_index: binomial_attempt(
              seed, column_name, row_id, row_index, n, p, a, b, alpha, squeeze, log_peak
            )
          )
        ),
        first_value_of(
          list_transform(
            range(5, 60),
            lambda row_index: binomial_attempt(
              seed, column_name, row_id, row_index, n, p, a, b, alpha, squeeze, log_peak
            )
          )
        ),
        floor(n * p)
      )
    ],
    lambda k: (case when flipped then n - k else k end)::bigint
  )[1];

-- name: first_within
-- The first of some candidates that is greater than gt, at least ge, less than lt and at most le (of those that are not null), or
-- null. The name of its own variable is one no column can have.
-- Cost: that of the candidates, and 0.1 µs.
create or replace temp macro first_within(candidates, gt, ge, lt, le) as
  list_filter(
    candidates,
    lambda row_index:
      row_index is not null
      and coalesce(row_index > gt, true)
      and coalesce(row_index >= ge, true)
      and coalesce(row_index < lt, true)
      and coalesce(row_index <= le, true)
  )[1];

-- name: unmet_bounds
-- A text that casts to no number and no moment: what makes a row without a value within its bounds an error of that row.
-- It names the column: of two that are the same, DuckDB 2.0.0 evaluates one ahead of both, for every row.
create or replace temp macro unmet_bounds(column_name, row_id) as
  'no value of ' || column_name || ' in row ' || row_id || ' is within the bounds';
