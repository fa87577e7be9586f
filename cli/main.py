"""`tandem VERB key=value ...`: finds the verb, composes its settings, runs it, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.errors import OK, USAGE, nearest, report
from cli.help import overview, verb_help
from cli.leaving import leave_on_signals
from cli.parent import end_with_parent
from cli.verbs import VERBS

HELP = ("-h", "--help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `tandem` and returns its exit code: 0 done, 1 failed, or the losses were not finite, 2 not a valid command,
    3 a cap was reached without success, 130 stopped by Ctrl-C."""
    if argv is None:  # as a program
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a stranger's failed handshake is no news for the terminal
        leave_on_signals()
    end_with_parent()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in HELP:
        print(overview())
        return OK
    if arguments[0] in ("-V", "--version"):
        print(f"tandem {version()}")
        return OK
    words = 2 if " ".join(arguments[:2]) in VERBS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name not in VERBS:
        print(f"tandem: unknown verb {name!r}.{nearest(name, VERBS)} `tandem --help` lists them", file=sys.stderr)
        return USAGE
    settings = None
    try:
        module = importlib.import_module(f"cli.{VERBS[name].module}")
        if any(word in HELP for word in rest):
            print(_help(name, module, [word for word in rest if word not in HELP]))
            return OK
        from cli.composition import compose_verb

        settings = compose_verb(
            name, module.list_keys(), module.list_groups(), rest, getattr(module, "stored_values", None)
        )
        return module.run(settings)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (Exception, KeyboardInterrupt) as error:
        run = (settings.values.get("run") or settings.values.get("out")) if settings else None
        return report(error, Path(run) if run else None)


def version() -> str:
    from importlib.metadata import version

    return version("tandem-rl")


def _help(name: str, module: Any, words: list[str]) -> str:
    from cli.composition import checked_choice

    groups = module.list_groups()
    choices = {group.name: group.default for group in groups}
    for word in words:
        key, _, value = word.partition("=")
        if key in choices:
            choices[key] = checked_choice(key, value, next(g.options for g in groups if g.name == key))
    return verb_help(VERBS[name], module.list_keys(), groups, choices)


if __name__ == "__main__":
    sys.exit(main())
