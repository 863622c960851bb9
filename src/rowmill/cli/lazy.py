"""A group of commands that lists them without importing what they need."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from rowmill.cli import logs
from rowmill.cli.failure import ReaderGone, is_broken_pipe


class LazyGroup(click.Group):
    """Imports a command's module only when that command is used.

    ``commands_of`` maps a command to its module, which holds the click command ``command``, and to the
    line shown for it in the list of commands.
    """

    def __init__(self, *arguments: Any, commands_of: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += logs.log_options()
        self._commands_of = commands_of

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A new command line: what an earlier one in this process said of logs is over."""
        logs.begin()
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order a user meets them."""
        return list(self._commands_of)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command, or None if there is no such command."""
        if cmd_name not in self._commands_of:
            return None
        module_name, line = self._commands_of[cmd_name]
        command = import_module(module_name).command
        assert isinstance(command, click.Command)
        command.short_help = line
        if not any(isinstance(option, click.Option) and "--log-format" in option.opts for option in command.params):
            command.params += logs.log_options()
        _take_from_environment(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, and names the nearest command when there is no such one."""
        name = args[0]
        if not name.startswith("-") and name not in self._commands_of:
            from rowmill.spec.nearest import did_you_mean

            hint = _OTHER_WORDS.get(name.casefold()) or did_you_mean(name, self._commands_of)
            hint = hint or " 'rowmill -h' lists them."
            ctx.fail(f"There is no command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Raises :class:`~rowmill.cli.failure.ReaderGone` when nobody reads its output any more."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except OSError as error:
            if is_broken_pipe(error):
                raise ReaderGone from error
            raise
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands from their lines alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._commands_of.items()])


_OTHER_WORDS = {
    "filter": " Rows are left out by columns ('rowmill help columns filter'), or by 'rowmill export --where'.",
    "start": " Did you mean 'run'?",
    "continue": " Did you mean 'run'? It goes on where a run stopped.",
    "stop": " Did you mean 'drain'? It lets running calls finish; 'cancel' does not.",
    "kill": " Did you mean 'cancel'?",
    "check": " Did you mean 'validate'?",
    "query": " Did you mean 'sql'?",
    "list": " Did you mean 'show'?",
    "delete": " Did you mean 'drop'? It gives rows up.",
    "copy": " Did you mean 'fork'?",
    "logs": " Did you mean 'show events'?",
}
_ONLY_TYPED = {"--yes", "--force"}
"""Options that confirm something: a variable set long ago confirms nothing."""
_OF_ALL_COMMANDS = {"verbose", "quiet", "log_format"}


def _take_from_environment(command: click.Command, name: str) -> None:
    """Gives each option its variable: ``--time-limit`` of ``sql`` is ``ROWMILL_SQL_TIME_LIMIT``.

    Those of every command have one for all of them as well: ``ROWMILL_LOG_FORMAT``.
    """
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None and not _ONLY_TYPED.intersection(option.opts):
            flag = max(option.opts, key=len).lstrip("-")
            option.envvar = [f"ROWMILL_{name}_{flag}".replace("-", "_").upper()]
            if option.name in _OF_ALL_COMMANDS:
                option.envvar.append(f"ROWMILL_{option.name}".upper())
