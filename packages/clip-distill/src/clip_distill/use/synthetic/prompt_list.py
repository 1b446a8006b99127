"""Prompts of all classes: made of options by a covering array, checked, written and read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clip_distill.method.covering import Rows
from clip_distill.use.prompts import without_weights
from clip_distill.use.synthetic.domains import Domain
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, sha256_bytes
from repro_shared.runtime.progress import say

PROMPTS, MANIFEST, CLASSES, ANSWERS = (
    "prompts.jsonl", "manifest.json", "classes.txt", "answers.jsonl",
)  # fmt: skip
VERSION = 1
_UNFIT = re.compile(r'[\x00-\x1f/\\:*?"<>|]')


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        folder: of the class's images.
        name: of the class.
        row: of the covering array.
        prompt: the text.
        properties: the option of each dimension, by its name.
    """

    folder: str
    name: str
    row: int
    prompt: str
    properties: dict[str, str] = field(default_factory=dict)


def folders_of(lines: Sequence[str], source: str) -> dict[str, str]:
    """Folder and name of each class from a name a line, or folder, tab and name.

    A folder that is not given is the name with `_` for spaces and `-` for what file systems refuse
    (F/A-18 becomes F-A-18).

    Raises:
        UserError: one class, a class without a name, a folder that is none, or one for two classes.
    """
    found, taken = dict[str, str](), dict[str, str]()
    for line in lines:
        first, tab, rest = line.partition("\t")
        name = " ".join((rest if tab else first).split())
        folder = first.strip() if tab else _UNFIT.sub("-", name).replace(" ", "_").lstrip(".")
        if not name or not folder or _UNFIT.search(folder) or folder[0] == ".":
            raise UserError(f"{source}: {line!r} gives no class: a name, or folder, tab and name")
        if (other := taken.setdefault(folder.casefold(), name)) != name or folder in found:
            raise UserError(f"{source}: {other!r} and {name!r} would share the folder {folder}")
        found[folder] = name
    if len(found) < 2:
        raise UserError(f"{source}: one class only ({', '.join(found)}); a student needs two")
    return found


def prompts_of(
    folder: str,
    name: str,
    domain: Domain,
    kind: str,
    options: Mapping[str, Sequence[str]],
    rows: Rows,
) -> list[Prompt]:
    """The prompts of a class: row by row of an array (n, dimensions) of options."""
    made = []
    for number, row in enumerate(rows.tolist()):
        pairs = zip(options.items(), row, strict=True)
        chosen = {dimension: texts[option] for (dimension, texts), option in pairs}
        text = domain.prompt(name, kind, chosen)
        made.append(Prompt(folder, name, number, text, chosen))
    return made


def check_tokens(
    prompts: Sequence[Prompt], lost: Callable[[str], str], whose: str, context: int
) -> None:
    """UserError, with the words that would be lost, where a tokenizer would cut a prompt."""
    cut = [(each, words) for each in prompts if (words := lost(each.prompt))]
    if cut:
        first, words = cut[0]
        raise UserError(
            f"{len(cut)} of {len(prompts)} prompts have more than the {context} tokens of {whose}: "
            f"{words!r} would be cut from {first.prompt[:60]!r} ({first.name}); shorten names, "
            "options or template"
        )


def write_prompts(folder: Path, prompts: Sequence[Prompt], about: dict[str, Any]) -> None:
    """Prompts, class names and manifest; UserError where the folder holds other prompts."""
    lines = [json.dumps(asdict(each), ensure_ascii=False) for each in prompts]
    text = "".join(f"{line}\n" for line in lines)
    path, digest = folder / PROMPTS, sha256_bytes(text.encode())
    if path.is_file() and sha256_bytes(path.read_bytes()) != digest:
        raise UserError(f"{folder} holds other prompts: give another --out")
    names = {each.folder: each.name for each in prompts}
    atomic_write_text(folder / CLASSES, "".join(f"{f}\t{name}\n" for f, name in names.items()))
    atomic_write_text(path, text)
    atomic_write_json(folder / MANIFEST, {"version": VERSION, **about, "sha256": digest})


def read_prompts(source: str | Path) -> tuple[list[Prompt], str]:
    """Prompts from a folder of `clip-distill prompts`, or from such a file; and their SHA-256.

    Raises:
        UserError: no such file, or a line of another form, which is named.
    """
    path = Path(source) / PROMPTS if Path(source).is_dir() else Path(source)
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it with `clip-distill "
                        "prompts`") from None  # fmt: skip
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    found, seen = list[Prompt](), set[tuple[str, int]]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prompt = _prompt(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: line {number} is no prompt with folder, name, row and prompt "
                f"({type(error).__name__}: {error})"
            ) from None
        if (prompt.folder, prompt.row) in seen:
            raise UserError(f"{path}: line {number}: row {prompt.row} of {prompt.folder} twice")
        seen.add((prompt.folder, prompt.row))
        found.append(prompt)
    if not found:
        raise UserError(f"{path}: no prompts")
    names = {each.folder: each.name for each in found}
    folders_of([f"{folder}\t{name}" for folder, name in names.items()], str(path))
    if bad := next((each for each in found if names[each.folder] != each.name), None):
        raise UserError(f"{path}: {bad.folder} is {bad.name!r} and {names[bad.folder]!r}")
    if len(set(names.values())) < len(names):
        raise UserError(f"{path}: two folders have the same class name")
    return found, sha256_bytes(data)


def plain(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts without weights of the compel library, and how many had some in a line.

    A class name stays as it is: C++ is no C that counts more.
    """
    found = [replace(each, prompt=_without(each)) for each in prompts]
    changed = sum(a.prompt != b.prompt for a, b in zip(prompts, found, strict=True))
    if changed:
        say(f"weights such as ++ were taken out of {changed} of {len(prompts)} prompts")
    return found


def _without(prompt: Prompt) -> str:
    if prompt.name not in prompt.prompt or "{}" in prompt.prompt:
        return without_weights(prompt.prompt)
    return without_weights(prompt.prompt.replace(prompt.name, "{}")).replace("{}", prompt.name)


def _prompt(form: Any) -> Prompt:
    prompt = Prompt(
        form["folder"], form["name"], form["row"], form["prompt"], form.get("properties", {})
    )
    texts = (prompt.folder, prompt.name, prompt.prompt)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise TypeError("folder, name and prompt are texts")
    if type(prompt.row) is not int or prompt.row < 0 or not isinstance(prompt.properties, dict):
        raise TypeError("row is a whole number, properties a table")
    return prompt
