"""A choice of words for an argument or option, whose error names the nearest one."""

from __future__ import annotations

from enum import Enum
from typing import Any

import click

from rowmill.spec.nearest import did_you_mean


class Choice(click.Choice[Any]):
    """As click's; a wrong word is answered with all of them and the one that was probably meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The chosen word. Raises :class:`click.BadParameter` with a suggestion."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            words = [str(each.value if isinstance(each, Enum) else each) for each in self.choices]
            hint = did_you_mean(str(value), words)
            raise click.BadParameter(f"{error.message}{hint}", error.ctx, error.param, error.param_hint) from error
