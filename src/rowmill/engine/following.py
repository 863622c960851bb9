"""Following another run while it lives: looking at it now and then, and handing its new finished rows to the turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from rowmill.counted import plural
from rowmill.engine.preparation import Prepared
from rowmill.engine.run_seed import SOURCE_ROW_ID, Look, look_at_run
from rowmill.engine.writer import StoreWriter
from rowmill.errors import Interrupted, Locked, UsageError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.run_store import RunStore
from rowmill.store.turn.following import FollowedRows, Following

LOOKS_EVERY_S = 1.0
PATIENCE_S = 60.0
"""How long a run that nobody works on is waited for: whoever started it may start it again."""


def follows(prepared: Prepared, store: RunStore) -> bool:
    """Whether the run takes rows of another one while that lives. A preview, which is in memory, does not."""
    config = prepared.spec.seed_dataset
    return config is not None and config.follow and store.connection.file is not None


async def follow(
    prepared: Prepared,
    store: RunStore,
    writer: StoreWriter,
    following: Following,
    nudge: Callable[[], None],
    wall_clock: Callable[[], float],
) -> None:
    """Offers new rows of the other run until it is complete, or nobody works on it for a minute. Raises SpecError."""
    config = prepared.spec.seed_dataset
    assert config is not None
    path = prepared.directory / config.paths[0]
    columns = await writer.call(store.seed_columns)
    taken: set[int] = set(await writer.call(store.taken_source_rows, SOURCE_ROW_ID))
    idle_since: float | None = None
    told = ""

    def note(detail: str) -> None:
        with store.connection.transaction():
            store.note("follows", str(path), detail, wall_clock())

    while True:
        look = await anyio.to_thread.run_sync(partial(_look, config, prepared.directory, columns, frozenset(taken)))
        said = _told(path, look)
        if said != told:
            told = said
            await writer.call(note, said)
        if look.seen:
            taken.update(look.seen)
            idle_since = None
            if look.rows is not None and look.rows.num_rows:
                following.offer(FollowedRows(look.rows, str(path), look.mark))
                nudge()
        elif look.state == "finished":
            following.end()
            nudge()
            return
        elif look.state not in {"running", "paused"}:
            idle_since = anyio.current_time() if idle_since is None else idle_since
            if anyio.current_time() - idle_since >= PATIENCE_S:
                following.end(Interrupted(f"{said}. Run that one to its end, then this one again."))
                nudge()
                return
        await anyio.sleep(LOOKS_EVERY_S)


def _look(
    config: SeedDatasetConfig, directory: Path, columns: tuple[tuple[str, str], ...], taken: frozenset[int]
) -> Look:
    try:
        return look_at_run(config, directory, columns, taken)
    except (Locked, UsageError) as error:
        return Look(None, frozenset(), f"away: {error}", 0, 0, "")


def _told(path: Path, look: Look) -> str:
    if look.state.startswith("away"):
        return f"{path.name} cannot be read now ({look.state.removeprefix('away: ')})"
    if look.state == "finished":
        return f"{path.name} is complete: {plural(look.rows_finished, 'row')} finished"
    finished = f"{look.rows_finished:,} of {plural(look.records, 'row')} finished"
    return f"waits for rows of {path.name}, which is {look.state}: {finished}"
