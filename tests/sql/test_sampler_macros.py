"""The sampler macros of sql/functions/sampler.sql: distributions against theory, and rule V1."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from rowmill.generators.samplers.category_parameters import CategoryParameters, SubcategoryParameters
from rowmill.generators.samplers.count_parameters import BinomialParameters, PoissonParameters
from rowmill.generators.samplers.parameters import DatetimeParameters, TimedeltaParameters, UuidParameters
from rowmill.spec.declaration import ColumnValue, SamplerCall

MACROS = (Path(__file__).parents[2] / "sql" / "functions" / "sampler.sql").read_text()
ROWS = 100_000
Database = duckdb.DuckDBPyConnection


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        connection.execute(MACROS)
        connection.execute(f"create table sample_row as select range as row_id from range({ROWS})")
        yield connection


def literal(value: Any) -> str:
    if isinstance(value, ColumnValue):
        return '"' + value.name.replace('"', '""') + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value!r}::bigint" if isinstance(value, int) else f"'{value!r}'::double"
    if isinstance(value, datetime):
        return f"timestamp '{value}'"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "'" + str(value).replace("'", "''") + "'"


def rendered(call: SamplerCall, column: str = "value", seed: int = 11) -> str:
    return f"{call.function}({', '.join([literal(seed), literal(column), 'row_id', *map(literal, call.arguments)])})"


def values_of(database: Database, call: SamplerCall, column: str = "value", seed: int = 11) -> list[Any]:
    rows = database.execute(f"select {rendered(call, column, seed)} from sample_row order by row_id").fetchall()
    return [value for (value,) in rows]


def mean_of(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def assert_moments(values: Sequence[float], mean: float, deviation: float) -> None:
    """Mean and variance are those of the law, to four and five times their own standard errors."""
    assert abs(mean_of(list(values)) - mean) <= 4 * deviation / math.sqrt(ROWS)
    squares = [(value - mean) ** 2 for value in values]
    variance = mean_of(squares)
    error = math.sqrt(mean_of([(square - variance) ** 2 for square in squares]) / ROWS)
    assert abs(variance - deviation**2) <= 5 * error + 1e-9


def chi_square(counts: list[int], expected: list[float]) -> float:
    return sum((count - share) ** 2 / share for count, share in zip(counts, expected, strict=True))


def chi_square_limit(degrees: int) -> float:
    """Exceeded by chance once in 10,000 times (approximation of Wilson and Hilferty, PNAS 17, 1931, 684-688)."""
    part = 2 / (9 * degrees)
    return degrees * (1 - part + 3.719 * math.sqrt(part)) ** 3


def kolmogorov_distance(values: list[float], distribution: Callable[[float], float]) -> float:
    ordered = sorted(values)
    n = len(ordered)
    return max(max(abs(distribution(x) - i / n), abs(distribution(x) - (i + 1) / n)) for i, x in enumerate(ordered))


KOLMOGOROV_LIMIT = 2.23 / math.sqrt(ROWS)  # exceeded by chance once in 10,000 times


# Rule V1


SAMPLERS = [
    SamplerCall("sample_uniform", (0.0, 1.0, None)),
    SamplerCall("sample_uniform", (-5.0, 5.0, 2)),
    SamplerCall("sample_gaussian", (10.0, 2.0, None)),
    SamplerCall("sample_bernoulli", (0.3,)),
    CategoryParameters(values=("a", "b", "c")).call(),
    CategoryParameters(values=("a", "b", "c"), weights=(1, 2, 3)).call(),
    SamplerCall("sample_subcategory", (ColumnValue("row_id"), [str(n) for n in range(ROWS)], [["x", "y"]] * ROWS)),
    UuidParameters().call(),
    UuidParameters(prefix="ORDER-", short_form=True, uppercase=True).call(),
    DatetimeParameters(start="2020-01-01", end="2030-01-01", unit="s").call(),  # type: ignore[arg-type]
    DatetimeParameters(start="2020-01-31", end="2030-01-01", unit="M").call(),  # type: ignore[arg-type]
]
FAST_SAMPLERS = [call for call in SAMPLERS if call.function != "sample_subcategory"]
COUNTERS = [
    PoissonParameters(mean=3.5).call(),
    PoissonParameters(mean=250).call(),
    PoissonParameters(mean=1e15).call(),
    BinomialParameters(n=20, p=0.3).call(),
    BinomialParameters(n=1000, p=0.95).call(),
    BinomialParameters(n=1000, p=0.4).call(),
    BinomialParameters(n=10**15, p=0.75).call(),
]


@pytest.mark.slow
def test_v1_values_do_not_depend_on_the_order_in_which_rows_are_made(database: Database) -> None:
    columns = ", ".join(f"{rendered(call)} as c{n}" for n, call in enumerate(FAST_SAMPLERS + COUNTERS))
    database.execute(f"create table forward as select row_id, {columns} from sample_row")
    database.execute(f"create table shuffled as select row_id, {columns} from (from sample_row order by hash(row_id))")
    difference = "(from forward except from shuffled) union all (from shuffled except from forward)"
    assert database.execute(f"select count(*) from ({difference})").fetchone() == (0,)


def test_v1_values_do_not_depend_on_which_rows_are_made_together(database: Database) -> None:
    for call in FAST_SAMPLERS + COUNTERS:
        expression = rendered(call)
        whole = database.execute(f"select {expression} from sample_row where row_id in (7, 40000)").fetchall()
        alone = [
            value
            for row_id in (7, 40000)
            for value in database.execute(f"select {expression} from (select {row_id}::bigint as row_id)").fetchall()
        ]
        assert sorted(whole) == sorted(alone)


@pytest.mark.slow
def test_v1_values_do_not_depend_on_the_number_of_threads(database: Database) -> None:
    columns = ", ".join(rendered(call) for call in FAST_SAMPLERS + COUNTERS)
    query = f"select bit_xor(hash({columns})) from sample_row"
    two = database.execute(query).fetchone()
    database.execute("set threads = 1")
    assert database.execute(query).fetchone() == two


def test_v1_values_do_not_depend_on_the_integer_type_of_row_id(database: Database) -> None:
    for call in FAST_SAMPLERS + COUNTERS:
        narrow, wide = (
            database.execute(f"select {rendered(call)} from (select 9::{kind} as row_id)").fetchone()
            for kind in ("integer", "ubigint")
        )
        assert narrow == wide


def test_v1_these_values_never_change(database: Database) -> None:
    """A dataset that is half made is finished by the next version of Rowmill, or on another machine."""
    assert [values_of(database, call)[3] for call in FAST_SAMPLERS] == FIRST_VALUES
    assert [values_of(database, call)[:3] for call in COUNTERS] == FIRST_COUNTS


FIRST_VALUES: list[Any] = [
    0.5848000157481457,
    0.85,
    10.619826222952,
    0,
    "b",
    "b",
    "95b5742e-56ac-446f-9939-33981a10e4fc",
    "ORDER-95B5742E",
    datetime(2025, 11, 6, 6, 35, 13),
    datetime(2025, 11, 30),
]

FIRST_COUNTS: list[list[int]] = [
    [4, 2, 4],
    [260, 243, 228],
    [1000000020428255, 999999985675628, 999999955711029],
    [6, 6, 2],
    [948, 952, 956],
    [410, 393, 408],
    [749999991155902, 750000006201689, 750000019170665],
]


def test_other_seeds_columns_and_rows_give_other_values(database: Database) -> None:
    call = SamplerCall("sample_uniform", (0.0, 1.0, None))
    values = [values_of(database, call, column, seed) for column, seed in (("a", 1), ("b", 1), ("a", 2), ("a", -1))]
    assert len({value for column in values for value in column}) == 4 * ROWS


def test_columns_are_not_correlated(database: Database) -> None:
    call = SamplerCall("sample_uniform", (-0.5, 0.5, None))
    first, second = values_of(database, call, "first"), values_of(database, call, "second")
    covariance = mean_of([a * b for a, b in zip(first, second, strict=True)]) * 12
    neighbours = mean_of([a * b for a, b in pairwise(first)]) * 12
    assert abs(covariance) < 4 / math.sqrt(ROWS)
    assert abs(neighbours) < 4 / math.sqrt(ROWS)


# The basis


def test_the_number_is_md5_read_as_a_little_endian_number(database: Database) -> None:
    from hashlib import md5

    (number,) = database.execute("select draw_number(11, 'rating', 42, 0)").fetchone() or ()
    assert number == int.from_bytes(md5(b"11:rating:42:0", usedforsecurity=False).digest(), "little")


def test_the_uniform_number_is_the_top_53_bits_of_md5_number_lower(database: Database) -> None:
    key = "concat_ws(':', 11, 'value', row_id, 0)"
    top_bits = f"(md5_number_lower({key}) >> 11)::double / 9007199254740992::double"
    query = f"select count(*) from sample_row where unit_uniform(11, 'value', row_id, 0) != {top_bits}"
    assert database.execute(query).fetchone() == (0,)


def pretend(database: Database, number: str) -> None:
    """Lets every draw give this number."""
    parameters = "(seed, column_name, row_id, draw)"
    database.execute(f"create or replace temp macro draw_number{parameters} as {number}::uhugeint")
    database.execute(MACROS[MACROS.index("create or replace temp macro unit_uniform") :])


def test_the_greatest_number_gives_less_than_one_and_an_index_in_range(database: Database) -> None:
    pretend(database, "'340282366920938463463374607431768211455'")
    assert database.execute("select unit_uniform(1, 'c', 1, 0)").fetchone() == (1 - 2**-53,)
    counts = "select n from (select unnest(range(1, 5000)) as n) where unit_index(1, 'c', 1, 0, n) != n - 1"
    assert database.execute(counts).fetchall() == []
    (greatest,) = database.execute("select unit_gaussian(1, 'c', 1, 0)").fetchone() or ()
    assert 8.5 < greatest < 8.6


def test_the_smallest_number_gives_zero_and_a_finite_gaussian(database: Database) -> None:
    pretend(database, "0")
    assert database.execute("select unit_uniform(1, 'c', 1, 0), unit_gaussian(1, 'c', 1, 0)").fetchone() == (0.0, 0.0)


@pytest.mark.parametrize("call", FAST_SAMPLERS, ids=lambda call: call.function)
def test_md5_is_computed_once_a_value(database: Database, call: SamplerCall) -> None:
    (plan,) = database.execute(f"explain (format json) select {rendered(call)} from sample_row").fetchall()
    assert str(plan).count("md5_number") == 1


def test_a_subcategory_computes_md5_once_a_value(database: Database) -> None:
    call = SubcategoryParameters(category="row_id", values={"1": ("a", "b"), "2": ("c",)}).call()
    (plan,) = database.execute(f"explain (format json) select {rendered(call)} from sample_row").fetchall()
    assert str(plan).count("md5_number") == 1


# Distributions


def test_uniform_values_are_uniform(database: Database) -> None:
    values = values_of(database, SamplerCall("sample_uniform", (10.0, 30.0, None)))
    assert min(values) >= 10
    assert max(values) < 30
    assert_moments(values, 20, 20 / math.sqrt(12))
    assert kolmogorov_distance(values, lambda x: (x - 10) / 20) < KOLMOGOROV_LIMIT


def test_uniform_values_are_rounded_to_their_decimal_places(database: Database) -> None:
    values = values_of(database, SamplerCall("sample_uniform", (0.0, 1.0, 2)))
    assert set(values) == {n / 100 for n in range(101)}


def test_gaussian_values_are_normally_distributed(database: Database) -> None:
    values = values_of(database, SamplerCall("sample_gaussian", (100.0, 15.0, None)))
    assert_moments(values, 100, 15)
    normal = lambda x: (1 + math.erf((x - 100) / 15 / math.sqrt(2))) / 2  # noqa: E731
    assert kolmogorov_distance(values, normal) < KOLMOGOROV_LIMIT


def test_the_two_numbers_behind_a_gaussian_value_are_independent(database: Database) -> None:
    high, low = "draw_number(11, 'g', row_id, 0) >> 75", "draw_number(11, 'g', row_id, 0) & 9007199254740991"
    cells = f"select ({high}) >> 50, ({low}) >> 50, count(*) from sample_row group by all"
    counts = [count for *_, count in database.execute(cells).fetchall()]
    assert len(counts) == 64
    assert chi_square(counts, [ROWS / 64] * 64) < chi_square_limit(63)


def test_a_standard_deviation_of_zero_gives_the_mean(database: Database) -> None:
    assert set(values_of(database, SamplerCall("sample_gaussian", (3.5, 0.0, None)))) == {3.5}


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_bernoulli_values_are_one_with_their_probability(database: Database, p: float) -> None:
    values = values_of(database, SamplerCall("sample_bernoulli", (p,)))
    assert set(values) <= {0, 1}
    assert_moments(values, p, math.sqrt(p * (1 - p)))


def test_categories_without_weights_are_equally_likely(database: Database) -> None:
    names = tuple(f"name {n}" for n in range(37))
    values = values_of(database, CategoryParameters(values=names).call())
    assert chi_square([values.count(name) for name in names], [ROWS / 37] * 37) < chi_square_limit(36)


@pytest.mark.parametrize(
    "weights", [(1, 1, 2, 4, 2), (0.001, 100, 3, 0, 0.5), (5, 0, 0, 0, 0), (1e-300, 1e300, 1e300, 1, 0)]
)
def test_categories_follow_their_weights(database: Database, weights: tuple[float, ...]) -> None:
    values = values_of(database, CategoryParameters(values=(1, 2, 3, 4, 5), weights=weights).call())
    expected = {n + 1: ROWS * weight / sum(weights) for n, weight in enumerate(weights)}
    assert all(expected[value] > 0 for value in set(values))
    likely = [value for value, share in expected.items() if share >= 0.5]
    limit = chi_square_limit(max(1, len(likely) - 1))
    assert chi_square([values.count(value) for value in likely], [expected[value] for value in likely]) < limit


def test_subcategories_belong_to_their_parent(database: Database) -> None:
    lists: dict[str, Sequence[str]] = {"0": ("a", "b", "c"), "1": ("d",), "2": ("e", "f")}
    call = SubcategoryParameters(category="parent", values=lists).call()
    rows = database.execute(
        f"select parent, {rendered(call)}, count(*) from (select *, row_id % 4 as parent from sample_row) group by all"
    ).fetchall()
    counts = {(parent, value): count for parent, value, count in rows}
    assert set(counts) == {(0, "a"), (0, "b"), (0, "c"), (1, "d"), (2, "e"), (2, "f"), (3, None)}
    assert chi_square([counts[0, value] for value in "abc"], [ROWS / 12] * 3) < chi_square_limit(2)


@pytest.mark.parametrize(
    "parent", ["choices", "parents", "seed", "column_name", "draw", "count", 'a "b" \' c', "values"]
)
def test_a_parent_may_be_named_like_a_parameter_of_a_macro(database: Database, parent: str) -> None:
    call = SubcategoryParameters(category=parent, values={"x": ("right",), "y": ("wrong",)}).call()
    rows = f"select row_id, 'x' as {literal(ColumnValue(parent))} from sample_row limit 1"
    assert database.execute(f"select {rendered(call, parent)} from ({rows})").fetchone() == ("right",)


def test_uuids_are_valid_distinct_and_of_version_4(database: Database) -> None:
    values = values_of(database, UuidParameters().call())
    parsed = [uuid.UUID(value) for value in values]
    assert len(set(parsed)) == ROWS
    assert {(value.version, value.variant) for value in parsed} == {(4, uuid.RFC_4122)}
    assert [str(value) for value in parsed] == values


def test_every_free_bit_of_a_uuid_is_set_in_half_of_them(database: Database) -> None:
    numbers = [uuid.UUID(value).int for value in values_of(database, UuidParameters().call())]
    fixed = {62, 63, 76, 77, 78, 79}
    shares = [sum(number >> bit & 1 for number in numbers) / ROWS for bit in range(128) if bit not in fixed]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / math.sqrt(ROWS)


def test_a_short_uuid_keeps_its_prefix_as_it_is(database: Database) -> None:
    long = values_of(database, UuidParameters().call())[0]
    short = values_of(database, UuidParameters(prefix="order-", short_form=True, uppercase=True).call())[0]
    assert short == "order-" + long[:8].upper()


def test_datetimes_are_whole_days_from_start_to_before_end(database: Database) -> None:
    call = DatetimeParameters(start=datetime(2024, 2, 27, 6, 30), end=datetime(2024, 3, 2)).call()
    values = values_of(database, call)
    days = [datetime(2024, 2, day, 6, 30) for day in (27, 28, 29)] + [datetime(2024, 3, 1, 6, 30)]
    assert chi_square([values.count(day) for day in days], [ROWS / 4] * 4) < chi_square_limit(3)


@pytest.mark.parametrize(
    ("unit", "start", "end", "count"),
    [
        ("Y", datetime(2020, 2, 29), datetime(2027, 3, 1), 8),
        ("M", datetime(2024, 1, 31), datetime(2024, 5, 31), 4),
        ("h", datetime(2024, 2, 29, 22), datetime(2024, 3, 1, 3), 5),
        ("m", datetime(2024, 2, 29, 23, 58, 7), datetime(2024, 3, 1, 0, 4), 6),
        ("s", datetime(2024, 12, 31, 23, 59, 55), datetime(2025, 1, 1, 0, 0, 7), 12),
    ],
)
def test_moments_of_every_unit_are_equally_likely(
    database: Database, unit: Any, start: datetime, end: datetime, count: int
) -> None:
    values = values_of(database, DatetimeParameters(start=start, end=end, unit=unit).call())
    counts = [values.count(value) for value in sorted(set(values))]
    assert len(counts) == count
    assert start <= min(values)
    assert max(values) < end
    assert chi_square(counts, [ROWS / count] * count) < chi_square_limit(count - 1)


def test_datetimes_by_month_stay_within_short_months(database: Database) -> None:
    call = DatetimeParameters(start=datetime(2024, 1, 31), end=datetime(2024, 5, 31), unit="M").call()
    dates = {value.date() for value in values_of(database, call)}
    assert dates == {date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)}


def poisson_probability(k: int, mean: float) -> float:
    return math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else float(k == 0)


def binomial_probability(k: int, n: int, p: float) -> float:
    if k > n or p in {0.0, 1.0}:
        return float(k == n * p)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def assert_counts_follow(values: list[int], probability: Callable[[int], float]) -> None:
    """A chi-square test over single numbers; those expected less than ten times are taken together with the next."""
    counts: list[int] = []
    expected: list[float] = []
    pending_count, pending = 0, 0.0
    for k in range(min(values) - 1, max(values) + 2):
        pending_count += values.count(k)
        pending += ROWS * probability(k) if k >= 0 else 0.0
        if pending >= 10:
            counts.append(pending_count)
            expected.append(pending)
            pending_count, pending = 0, 0.0
    counts[-1] += pending_count
    expected[-1] += pending
    assert chi_square(counts, expected) < chi_square_limit(max(1, len(counts) - 1))


@pytest.mark.parametrize("mean", [0.0, 1e-300, 0.7, 12.25, 99.99, 100.0, 640.5])
def test_poisson_values_follow_their_law(database: Database, mean: float) -> None:
    values = values_of(database, PoissonParameters(mean=mean).call())
    assert_moments(values, mean, math.sqrt(mean))
    assert_counts_follow(values, lambda k: poisson_probability(k, mean))


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (0, 0.5),
        (7, 0.0),
        (7, 1.0),
        (1, 0.25),
        (12, 0.5),
        (10**12, 3e-12),
        (400, 0.2),
        (199, 0.5),
        (200, 0.5),
        (900, 0.85),
    ],
)
def test_binomial_values_follow_their_law(database: Database, n: int, p: float) -> None:
    values = values_of(database, BinomialParameters(n=n, p=p).call())
    assert min(values) >= 0
    assert max(values) <= n
    assert_moments(values, n * p, math.sqrt(n * p * (1 - p)))
    if n < 10**6:
        assert_counts_follow(values, lambda k: binomial_probability(k, n, p))
    else:
        assert_counts_follow(values, lambda k: poisson_probability(k, n * p))  # which differs by less than n p²


@pytest.mark.parametrize(
    ("call", "mean", "deviation"),
    [
        (PoissonParameters(mean=1e15).call(), 1e15, math.sqrt(1e15)),
        (PoissonParameters(mean=1e8).call(), 1e8, 1e4),
        (BinomialParameters(n=10**15, p=0.75).call(), 0.75e15, math.sqrt(0.1875e15)),
        (BinomialParameters(n=10**9, p=0.001).call(), 1e6, math.sqrt(999_000)),
    ],
)
def test_great_counts_are_nearly_normal(database: Database, call: SamplerCall, mean: float, deviation: float) -> None:
    """Where there are too many numbers to count: by the theorem of Berry and Esseen the normal law is within 0.001."""
    values = values_of(database, call)
    spread = math.sqrt(mean_of([(value - mean) ** 2 for value in values]))
    assert abs(mean_of(values) - mean) < 4 * deviation / math.sqrt(ROWS)
    assert abs(spread - deviation) < 4 * deviation / math.sqrt(2 * ROWS)
    normal = lambda x: (1 + math.erf((x + 0.5 - mean) / deviation / math.sqrt(2))) / 2  # noqa: E731
    assert kolmogorov_distance([float(value) for value in values], normal) < KOLMOGOROV_LIMIT + 0.001


@pytest.mark.parametrize("k", [16, 17, 100, 12_345])
@pytest.mark.parametrize("mean", [100.0, 131.7, 12_000.0])
def test_the_saddle_point_gives_the_density(database: Database, k: int, mean: float) -> None:
    densities = (
        "log_poisson_density($k::double, $mean), log_binomial_density($k::double, 20000.0::double, $mean / 20000)"
    )
    query = f"select {densities}"
    poisson, binomial = database.execute(query, {"k": k, "mean": mean}).fetchone() or (0, 0)
    assert poisson == pytest.approx(k * math.log(mean) - mean - math.lgamma(k + 1), rel=1e-11, abs=1e-9)
    p = mean / 20_000
    ways = math.lgamma(20_001) - math.lgamma(k + 1) - math.lgamma(20_001 - k)
    assert binomial == pytest.approx(ways + k * math.log(p) + (20_000 - k) * math.log1p(-p), rel=1e-10, abs=1e-9)


def test_a_count_is_made_even_if_every_attempt_fails(database: Database) -> None:
    pretend(database, "0")  # u = -1/2, v = 1: never accepted
    poisson = rendered(PoissonParameters(mean=250.5).call())
    binomial = rendered(BinomialParameters(n=1000, p=0.75).call())
    row = "(select 1 as row_id)"
    assert database.execute(f"select {poisson}, {binomial} from {row}").fetchone() == (250, 750)


@pytest.mark.parametrize(("unit", "seconds"), [("D", 86_400), ("h", 3600), ("m", 60), ("s", 1)])
def test_timedeltas_are_whole_units_from_least_to_before_the_greatest(
    database: Database, unit: Any, seconds: int
) -> None:
    call = TimedeltaParameters(dt_min=2, dt_max=5, reference_column_name="start", unit=unit).call()
    rows = database.execute(
        f"select units, count(*) from (select (epoch({rendered(call)}) - epoch(start)) / {seconds} as units"
        " from (select *, timestamp '2024-02-29 23:00:00' + to_days((row_id % 3)::integer) as start from sample_row))"
        " group by units order by units"
    ).fetchall()
    assert [units for units, _ in rows] == [2, 3, 4]
    assert chi_square([count for _, count in rows], [ROWS / 3] * 3) < chi_square_limit(2)


@pytest.mark.parametrize(
    ("limits", "first"),
    [
        ("null, null, null, null", 5),
        ("5, null, null, null", 7),
        ("null, 6, null, null", 7),
        ("null, null, 5, null", 2),
        ("null, null, null, 2", 2),
        ("2, null, 7, null", 5),
        ("8, null, null, null", None),
    ],
)
def test_the_first_value_within_bounds_is_taken(database: Database, limits: str, first: int | None) -> None:
    assert database.execute(f"select first_within([5, 7, null, 2, 6], {limits})").fetchone() == (first,)


def test_choices_come_out_as_they_went_in(database: Database) -> None:
    hostile = ("a'b", 'c"d', "{{ e }}", "%s", "$1", "\U0001f9ea", "")
    assert set(values_of(database, CategoryParameters(values=hostile).call())) == {*hostile}


def test_the_macros_work_on_a_file_and_are_no_part_of_it(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "run.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(MACROS)
        connection.execute("create table row_value as select sample_uuid(11, 'value', 3) as value")
        assert connection.execute("from row_value").fetchone() == (values_of(database, UuidParameters().call())[3],)
    with duckdb.connect(path) as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("select sample_uuid(11, 'value', 3)")


def test_making_the_macros_again_changes_nothing(database: Database) -> None:
    before = values_of(database, UuidParameters().call())[:10]
    database.execute(MACROS)
    assert values_of(database, UuidParameters().call())[:10] == before
