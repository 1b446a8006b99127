"""One command line for every package: sub-commands from typed functions.

A command is a function with annotated parameters and a docstring. A parameter without a default is
positional, the others are `--flags`; the docstring's first lines and its `Args:` become the help.
tyro reads one command's arguments; which command it is, is decided here, so that the list of
commands and every error stay readable.
"""

import contextlib
import difflib
import functools
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence

from repro_shared.runtime.errors import UserError, exit_code

Command = Callable[..., int | None]


def run(
    prog: str,
    description: str,
    commands: Mapping[str, Command],
    argv: Sequence[str] | None = None,
    *,
    version: str,
) -> int:
    """Run the command that the arguments name.

    Args:
        prog: Name of the program, as installed.
        description: One or two sentences for `--help`.
        commands: Function by name; a name may be two words ("data check").
        argv: Arguments without the program's name; those of this process by default.
        version: For `--version`.

    Returns:
        The command's exit code; 2 after one line on stderr for an unknown command, flag or value,
        and for every other `UserError`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _dispatch(prog, description, commands, arguments, version))


def _dispatch(
    prog: str,
    description: str,
    commands: Mapping[str, Command],
    arguments: list[str],
    version: str,
) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(prog, description, commands))
        return 0
    if arguments[0] == "--version":
        print(f"{prog} {version}")
        return 0
    groups = {name.split()[0] for name in commands if " " in name}
    if arguments[0] in groups and arguments[1:2] in (["-h"], ["--help"]):
        print(_overview(prog, description, commands))
        return 0
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in commands), None)
    if name is None:
        raise UserError(_unknown_command(prog, commands, arguments))
    rest = arguments[len(name.split()) :]
    bound = _parse(commands[name], f"{prog} {name}", rest)
    return 0 if bound is None else bound()


def _overview(prog: str, description: str, commands: Mapping[str, Command]) -> str:
    width = max(len(name) for name in commands)
    lines = [f"  {name:<{width}}  {_summary(command)}" for name, command in commands.items()]
    return "\n".join(
        [
            f"usage: {prog} [-h] [--version] COMMAND ...",
            "",
            description,
            "",
            "commands:",
            *lines,
            "",
            f"`{prog} COMMAND --help` lists a command's options.",
        ]
    )


def _summary(command: Command) -> str:
    """First line of the docstring."""
    lines = (inspect.getdoc(command) or "").splitlines()
    return lines[0] if lines else ""


def _unknown_command(prog: str, commands: Mapping[str, Command], arguments: list[str]) -> str:
    given = arguments[0]
    below = [name for name in commands if name.split()[0] == given]
    if below:  # the first of two words
        return f"`{prog} {given}` needs one of: {', '.join(n.split()[1] for n in below)}"
    near = difflib.get_close_matches(given, commands, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"unknown command `{given}`; {hint}commands: {', '.join(commands)}"


def _parse(command: Command, prog: str, arguments: list[str]) -> Callable[[], int | None] | None:
    """The command with its arguments filled in, not yet run; None after `--help`.

    Raises:
        UserError: tyro refused the arguments.
    """
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
            bound: Callable[[], int | None] = tyro.cli(
                bind, prog=prog, args=arguments, config=markers
            )
    except SystemExit as stop:
        if not stop.code:
            return None
        raise UserError(f"{_from_box(messages.getvalue())}; see `{prog} --help`") from None
    return bound


def _from_box(text: str) -> str:
    """The message of tyro's error box as one line.

    Rules separate a title (in the frame's edge where stdout is UTF-8, else in a paragraph of its
    own), the message, and further help. Should a later tyro print another form, the line gets
    longer and stays one line.
    """
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
    for paragraph in paragraphs[1:]:
        if paragraph and paragraph[0].startswith("Perhaps you meant") and len(paragraph) > 1:
            message += f" (perhaps you meant {paragraph[1].split()[0].rstrip(',')})"
    return message[:1].lower() + message[1:]
