"""Where seed rows come from that are finished rows of another run, as it is kept beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

_RUN = "run "
_FOLLOWED = "followed since "


@dataclass(frozen=True, slots=True)
class Provenance:
    """A run that seed rows were taken from."""

    run: str
    """Its name."""
    spec_version: int
    """The spec it went by."""
    state: str
    """What is cheap to know of its file and differs when its content does."""

    def as_mark(self) -> str:
        """As it is kept in place of the mark of a file."""
        return _RUN + json.dumps(asdict(self), ensure_ascii=False)

    def is_of(self, other: Provenance | None) -> bool:
        """Whether both are of one run that is followed, whatever its spec was."""
        return other is not None and _FOLLOWED in self.state and (self.run, self.state) == (other.run, other.state)

    def told(self, path: str | None = None) -> str:
        """As a sentence for people."""
        where = f"{path}, spec version {self.spec_version}" if path is not None else f"spec version {self.spec_version}"
        return (
            f"The seed rows are finished rows of the run '{self.run}' ({where}); source_row_id is their row_id there."
        )

    @classmethod
    def of_followed(cls, run: str, spec_version: int, made_at: str) -> Provenance:
        """Of a run whose content grows: it is known by when it was made."""
        return cls(run, spec_version, _FOLLOWED + made_at)

    @classmethod
    def of_mark(cls, mark: str) -> Provenance | None:
        """What :meth:`as_mark` kept; None for the mark of a file."""
        return cls(**json.loads(mark.removeprefix(_RUN))) if mark.startswith(_RUN) else None
