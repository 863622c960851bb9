"""``rowmill completion``: completion of commands, options and their values for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rowmill.cli.choice import Choice
from rowmill.cli.output import write_exactly

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and values. Put it where the shell reads it at its start.

    \b
    Example:
      rowmill completion bash >> ~/.bashrc
      rowmill completion zsh >> ~/.zshrc
      rowmill completion fish > ~/.config/fish/completions/rowmill.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # Not source(): that runs the shell to see its version, which need not be the one it is for.
    completion = kind(context.find_root().command, {}, "rowmill", "_ROWMILL_COMPLETE")
    write_exactly(completion.source_template % completion.source_vars() + "\n")
