"""``python -m bench NAME``: runs one benchmark. People use ``tools/benchmark NAME``."""

from __future__ import annotations

import argparse
from importlib import import_module

_BENCHMARKS = {
    "dispatch": "chained async no-op columns: durable cells per second, beside the dispatcher without a store",
    "sql": "samplers and SQL expressions: cells per second, beside one plain INSERT … SELECT",
    "provider": "requests per second through the engine, beside the ideal and the bare client",
    "refusal": "healthy endpoints beside one that answers 429 for ever, over HTTP",
    "plan": "preparing and resuming plans of 10 to 10⁹ row groups",
    "live": "a run alone and with readers that look in loops",
    "remote": "calls made in this process, in others and on Ray, beside the driver alone",
    "turn": "the turn alone, by outcomes and active rows, with the cost of each statement",
}


def main() -> None:
    """Parses the command line, measures, writes the report."""
    parser = argparse.ArgumentParser(
        prog="tools/benchmark", description="Runs one of Rowmill's benchmarks.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name, purpose in _BENCHMARKS.items():
        module = import_module(f".{name}", __package__)
        command = commands.add_parser(
            name,
            help=purpose,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(command)
        command.add_argument(
            "--json", metavar="FILE", help="also write JSON to FILE; - for stdout, the table then goes to stderr"
        )
        command.set_defaults(measure=module.measure)
    options = parser.parse_args()
    options.measure(options).write(options.json)


if __name__ == "__main__":
    main()
