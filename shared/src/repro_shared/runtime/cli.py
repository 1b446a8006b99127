"""One command line for every package: sub-commands from typed functions with docstrings.

A parameter without a default is positional, the others are `--flags`; the docstring's first lines
and its `Args:` become the help. tyro reads one command's arguments; which command it is, is decided
here, for readable errors.
"""

import contextlib
import difflib
import functools
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence

from repro_shared.runtime.errors import UserError, exit_code
from repro_shared.runtime.output import results_only

Command = Callable[..., int | None]


def run(
    prog: str,
    description: str,
    commands: Mapping[str, Command],
    argv: Sequence[str] | None = None,
    *,
    version: str,
) -> int:
    """Run the command that `argv` (this process's by default) names; returns its exit code.

    Names may be two words ("data check"). Every `UserError` is one line on stderr and code 2.
    What other packages than the commands' print goes to a log, see `output`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    own = {"repro_shared", *(command.__module__.partition(".")[0] for command in commands.values())}

    def dispatch() -> int | None:
        first, rest = " ".join(arguments[:1]), arguments[1:]
        in_group = rest[:1] in (["-h"], ["--help"]) and first in {
            name.split()[0] for name in commands if " " in name
        }
        if first in ("", "-h", "--help") or in_group:
            print(_overview(prog, description, commands))
            return 0
        if first == "--version":
            print(f"{prog} {version}")
            return 0
        name = next((n for n in (" ".join(arguments[:2]), first) if n in commands), None)
        if name is None:
            raise UserError(_unknown_command(prog, commands, first))
        bound = _parse(commands[name], f"{prog} {name}", arguments[len(name.split()) :])
        if bound is None:
            return 0
        with results_only(own):
            return bound()

    return exit_code(dispatch)


def _overview(prog: str, description: str, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    listed = "\n".join(
        f"  {name:<{width}}  {(inspect.getdoc(command) or '').partition(chr(10))[0]}"
        for name, command in commands.items()
    )
    return (
        f"usage: {prog} [-h] [--version] COMMAND ...\n\n{description}\n\ncommands:\n{listed}\n\n"
        f"`{prog} COMMAND --help` lists a command's options."
    )


def _unknown_command(prog: str, commands: Mapping[str, Command], given: str) -> str:
    below = [name.split()[1] for name in commands if name.startswith(f"{given} ")]
    if below:  # the first of two words
        return f"`{prog} {given}` needs one of: {', '.join(below)}"
    near = difflib.get_close_matches(given, commands, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"unknown command `{given}`; {hint}commands: {', '.join(commands)}"


def _parse(command: Command, prog: str, arguments: list[str]) -> Callable[[], int | None] | None:
    """The command with its arguments filled in, None after `--help`; UserError if refused."""
    import tyro

    # tyro calls what it parsed for at once. Parsing and running are kept apart here, so that only
    # tyro's own output is caught, and a SystemExit from the command is not taken for a bad flag.
    @functools.wraps(command)
    def bind(*values: object, **flags: object) -> Callable[[], int | None]:
        return functools.partial(command, *values, **flags)

    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs)
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(bind, prog=prog, args=arguments, config=markers)
    except SystemExit as stop:
        if not stop.code:
            return None
    raise UserError(f"{_from_box(messages.getvalue())}; see `{prog} --help`")


def _from_box(text: str) -> str:
    """The message of tyro's error box, where rules separate title, message and help."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        content = line.strip("│ ")
        if content.startswith(("╭", "╰")):
            continue
        if content and not content.strip("─-"):
            paragraphs.append([])
        elif content:
            paragraphs[-1].append(content)
    if "╭" not in text and len(paragraphs) > 1:
        del paragraphs[0]
    message = " ".join(paragraphs[0]).rstrip(".").removeprefix("Error parsing ")
    for title, *lines in filter(None, paragraphs[1:]):
        if title.startswith("Perhaps you meant") and lines:
            message += f" (perhaps you meant {lines[0].split()[0].rstrip(',')})"
    return message[:1].lower() + message[1:]
