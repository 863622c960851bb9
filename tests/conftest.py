"""What all tests share."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from budget import Budget, factor
from hypothesis import settings
from order import has_no_slow_tests, longest_first

from rowmill.inspect.place import DIRECTORY_VARIABLE

# Under load a single example may be slow; a time-out per test is set in pyproject.toml.
settings.register_profile("rowmill", deadline=None)
settings.load_profile("rowmill")

# Where a shell started the tests in the background, interrupts are ignored, and so they would be in every process that
# a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests count requests; those of the health check itself take this away.
os.environ["ROWMILL_SKIP_HEALTH_CHECKS"] = "1"


# What was made before a test stays, most of it until the session ends. To look at all of it after every test takes up
# to 0.2 s; frozen, it is passed over, and a collection looks only at what the test made.
_MANY_MODULES = 20
_MANY_TESTS = 200
_frozen_modules = 0
_tests_since = 0
"""Tests begun since all was looked at."""


def _freeze_what_stays() -> None:
    """Collects all garbage, then sets what is left aside: what was set aside before may have become garbage since."""
    global _frozen_modules, _tests_since
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    _frozen_modules, _tests_since = len(sys.modules), 0


def pytest_collection_finish() -> None:
    _freeze_what_stays()


def pytest_sessionfinish() -> None:
    gc.unfreeze()
    gc.collect()


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[object]) -> None:
    """What several tests shared is let go: before the next one, all is looked at."""
    global _tests_since
    if fixturedef.scope != "function":
        _tests_since = _MANY_TESTS


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Collects garbage after a test while it is still the one to blame for an unclosed resource.

    Before a test, what is left of the one before it: its fixtures live until it is over.
    """
    global _tests_since
    if _tests_since >= _MANY_TESTS:
        _freeze_what_stays()
    else:
        gc.collect()
        gc.freeze()
    _tests_since += 1
    yield
    if len(sys.modules) - _frozen_modules >= _MANY_MODULES:
        _freeze_what_stays()
    else:
        gc.collect()


@pytest.fixture(autouse=True)
def _logging_is_as_before() -> Iterator[None]:
    """A command in this process has the logger write lines of its own; no ``caplog`` of a later test would see them."""
    logger = logging.getLogger("rowmill")
    propagate, level, handlers = logger.propagate, logger.level, logger.handlers[:]
    yield
    logger.propagate, logger.handlers[:] = propagate, handlers
    logger.setLevel(level)


@pytest.fixture(autouse=True, scope="session")
def _what_users_were_told_is_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs tell and remember of a user stays out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="give tests with a budget twenty times as long: for nights")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    only_slow = config.getoption("markexpr") == "slow" and collection_path.suffix == ".py"
    return True if only_slow and has_no_slow_tests(collection_path) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = longest_first(items)
    if config.getoption("long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> Iterator[Budget]:
    """The time this test may take, and its seed; what it did with them is told after all tests."""
    budget = Budget(factor(is_long=request.config.getoption("long")))
    yield budget
    assert budget.told, "this test asks for a budget and does not use it"
    print(*budget.told, f"seed {budget.seed}", sep="; ")
    request.node.user_properties.append(("budget", f"{'; '.join(budget.told)}; seed {budget.seed}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    told = {
        report.nodeid: text
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "budget"
    }
    if told:
        terminalreporter.section("budgets")
        for test, text in sorted(told.items()):
            terminalreporter.line(f"{test}: {text}")


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for the sockets of this test alone; its name is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="rowmill-", dir="/tmp") as directory:
        path = Path(directory) / "sockets"
        monkeypatch.setenv(DIRECTORY_VARIABLE, str(path))
        yield path
