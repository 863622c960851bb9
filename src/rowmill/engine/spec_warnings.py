"""What a spec says that its author may not mean. A run works as it says."""

from __future__ import annotations

from rowmill.counted import plural
from rowmill.errors import Problem
from rowmill.graph.endpoint import endpoints
from rowmill.spec.seed_selection import PartitionBlock
from rowmill.spec.spec import Spec


def spec_warnings(spec: Spec) -> tuple[Problem, ...]:
    """What is to be said of a spec whose number of records is known; each names the field it is about."""
    found = (_partitions_alike(spec), _too_few_in_flight(spec), _too_few_active_rows(spec))
    return tuple(warning for warning in found if warning is not None)


def _partitions_alike(spec: Spec) -> Problem | None:
    """What partitions of one seed have in common."""
    selection = spec.seed_dataset.selection if spec.seed_dataset is not None else None
    samples = any(column.column_type == "sampler" for column in spec.columns)
    if not isinstance(selection, PartitionBlock) or selection.num_partitions < 2 or not samples:
        return None
    message = (
        f"Each of the {selection.num_partitions} partitions draws the same samples as long as 'seed' is the same: the "
        "rows of each are numbered from 0. Give each partition a seed of its own, or cut one run into shards, whose "
        "rows are numbered through."
    )
    return Problem("seed_dataset.selection", message)


def _too_few_in_flight(spec: Spec) -> Problem | None:
    """Models that take more requests at once than tasks may run, by a bound that nobody chose."""
    wanted, bound = _requests_at_once(spec), spec.run.max_in_flight
    if wanted <= bound or "max_in_flight" in spec.run.model_fields_set:
        return None
    message = (
        f"The models take {plural(wanted, 'request')} at once, but {plural(bound, 'task')} at most run unless "
        f"run.max_in_flight is set: {wanted} uses all that they take."
    )
    return Problem("run.max_in_flight", message)


def _too_few_active_rows(spec: Spec) -> Problem | None:
    """More tasks at once than rows are worked on, by a bound that nobody chose."""
    wanted, bound = _requests_at_once(spec), spec.run.max_active_rows
    if "max_in_flight" in spec.run.model_fields_set:
        wanted = min(wanted, spec.run.max_in_flight)
    if wanted <= bound or "max_active_rows" in spec.run.model_fields_set:
        return None
    message = (
        f"{plural(wanted, 'request')} at once need as many rows, but {plural(bound, 'row')} at most are worked on "
        f"unless run.max_active_rows is set: {4 * wanted} leaves some at hand."
    )
    return Problem("run.max_active_rows", message)


def _requests_at_once(spec: Spec) -> int:
    """What all endpoints of the spec take at once, of each at most one for each row."""
    return sum(min(endpoint.limit, spec.planned_records) for endpoint in endpoints(spec).values())
