"""``rowmill merge``: shards of a run become one run database."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.counted import plural


@click.command()
@click.argument("whole", type=click.Path(path_type=Path))
@click.argument("shards", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="SHARD...")
@click.option(
    "--allow-holes",
    is_flag=True,
    help="Also if shards are missing or unfinished: a run of WHOLE makes the rest.",
)
def command(whole: Path, shards: tuple[Path, ...], allow_holes: bool) -> None:
    """Make WHOLE, one run database, of all shards of a run ('rowmill run --shard').

    The shards are only read: their dataset, dropped rows, attempts, usage, events and files are all in WHOLE, which
    then is as if one run had made it. Columns over all rows, which no shard can make, are made by a run of it.

    \b
    Example:
      rowmill merge penguins.duckdb penguins-*-of-16.duckdb
      rowmill run penguins.duckdb
    """
    import time

    from rowmill.engine.merging import merge

    merged = merge(whole, shards, time.time(), allow_holes=allow_holes)
    status = merged.status
    dropped = f", {status.rows_dropped:,} dropped" if status.rows_dropped else ""
    tell(
        f"{whole} holds {plural(merged.shards, 'shard')}: {status.rows_finished:,} of {plural(status.records, 'row')} "
        f"finished{dropped}."
    )
    for first, end in merged.missing:
        tell(f"  no shard holds rows {first:,}..{end:,}")
    for path in merged.unfinished:
        tell(f"  {path} had more to do")
    if status.state == "finished":
        tell(f"Next:\n  rowmill export {whole}    writes the finished rows to a file")
    else:
        tell(f"Next:\n  rowmill run {whole}    goes on with what no shard could make, or has made")
