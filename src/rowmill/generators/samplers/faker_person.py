"""The sampler ``person_from_faker``: made-up people by the library Faker (extra ``faker``), with DataDesigner's fields.

Faker is seeded anew for each row, with the row's number: people are fixed for a version of Faker.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rowmill.generators.samplers.drawn_parameters import DrawnParameters, ParametersProblem, RowSampler
from rowmill.spec.nearest import did_you_mean

_MISSING = "People from Faker need Faker, which is not installed: pip install 'rowmill[faker]'."
OLDEST = 114
REFERENCE_DATE = date(2026, 1, 1)
"""The day on which people have their age: birth dates do not depend on the day a dataset is made."""

Sex = Literal["Male", "Female"]
_SEXES: tuple[Sex, ...] = ("Male", "Female")
_MARITAL_STATUS = ("married_present", "divorced", "never_married", "separated", "widowed")
_EDUCATION = ("secondary_education", "some_college", "bachelors", "associates", "graduate", "doctorate")
_WITH_DEGREE = frozenset({"bachelors", "graduate", "doctorate"})
_DEGREE_FIELDS = ("stem", "business", "education", "arts_humanities", "stem_related")
_FIELDS = {
    "uuid": "VARCHAR",
    "locale": "VARCHAR",
    "first_name": "VARCHAR",
    "last_name": "VARCHAR",
    "middle_name": "VARCHAR",
    "sex": "VARCHAR",
    "street_number": "VARCHAR",
    "street_name": "VARCHAR",
    "city": "VARCHAR",
    "state": "VARCHAR",
    "postcode": "VARCHAR",
    "age": "BIGINT",
    "birth_date": "VARCHAR",
    "country": "VARCHAR",
    "marital_status": "VARCHAR",
    "education_level": "VARCHAR",
    "unit": "VARCHAR",
    "occupation": "VARCHAR",
    "phone_number": "VARCHAR",
    "bachelors_field": "VARCHAR",
}


def _is_range(ages: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= ages[0] < ages[1] <= OLDEST:
        raise ValueError(f"age_range is [least, greatest] from 0 to {OLDEST}, the least below the greatest.")
    return ages


AgeRange = Annotated[tuple[int, int], AfterValidator(_is_range)]
Cities = Annotated[str, Field(min_length=1)] | Annotated[tuple[str, ...], Field(min_length=1)] | None


class FakerPersonParameters(DrawnParameters):
    """People as Faker makes them up: plausible names and addresses, no real demographics."""

    locale: str = "en_US"
    """Any of Faker."""
    sex: Sex | None = None
    """``Male`` or ``Female``. Default: both."""
    city: Cities = None
    """The only city people live in, or a list of them. Default: any."""
    age_range: AgeRange = (18, OLDEST)
    """The youngest and the oldest, both included."""

    def sql_type(self) -> str:
        return f"STRUCT({', '.join(f'{chr(34)}{name}{chr(34)} {kind}' for name, kind in _FIELDS.items())})"

    def sampler(self, directory: Path | None) -> RowSampler:
        try:
            faker = import_module("faker")
        except ImportError as error:
            raise ParametersProblem(_MISSING) from error
        locales = import_module("faker.config").AVAILABLE_LOCALES
        if self.locale not in locales:
            hint = did_you_mean(self.locale, sorted(locales)) or " For example: en_US, en_GB, de_DE, fr_FR, ja_JP."
            raise ParametersProblem(f"Faker has no locale '{self.locale[:60]}'.{hint}", "locale")
        return _People(faker.Faker(self.locale), self)


class _People:
    """Makes people one at a time: a Faker is one generator, which threads must not share at once."""

    def __init__(self, fake: Any, parameters: FakerPersonParameters) -> None:
        self._fake = fake
        self._parameters = parameters
        self._lock = threading.Lock()

    def draw(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        with self._lock:
            return [self._person(number) for number in numbers]

    def _person(self, number: int) -> dict[str, Any]:
        given = self._parameters
        rng = random.Random(number)
        self._fake.seed_instance(number)
        sex: str = given.sex or rng.choice(_SEXES)
        age = rng.randint(*given.age_range)
        education = rng.choice(_EDUCATION)
        cities = (given.city,) if isinstance(given.city, str) else given.city
        return {
            "uuid": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "locale": given.locale,
            "first_name": self._made(f"first_name_{sex.lower()}", "first_name"),
            "last_name": self._made(f"last_name_{sex.lower()}", "last_name"),
            "middle_name": None,
            "sex": sex,
            "street_number": self._made("building_number"),
            "street_name": self._made("street_name"),
            "city": rng.choice(cities) if cities else self._made("city"),
            "state": self._made("state", "administrative_unit"),
            "postcode": self._made("postcode"),
            "age": age,
            "birth_date": _birth_date(age, rng).isoformat(),
            "country": self._made("current_country", "country"),
            "marital_status": rng.choice(_MARITAL_STATUS),
            "education_level": education,
            "unit": "",
            "occupation": self._made("job"),
            "phone_number": self._made("phone_number") if age >= 18 else None,
            "bachelors_field": rng.choice(_DEGREE_FIELDS) if education in _WITH_DEGREE else "no_degree",
        }

    def _made(self, *providers: str) -> str | None:
        """What the first of these providers that the locale has makes; null if it has none."""
        for name in providers:
            provider = getattr(self._fake, name, None)
            if provider is not None:
                return str(provider())
        return None


def _birth_date(age: int, rng: random.Random) -> date:
    """A day on which somebody of this age on the reference date can have been born."""
    last = _years_before(age)
    return last - timedelta(days=rng.randrange((last - _years_before(age + 1)).days))


@cache
def _years_before(years: int) -> date:
    return REFERENCE_DATE.replace(year=REFERENCE_DATE.year - years)
