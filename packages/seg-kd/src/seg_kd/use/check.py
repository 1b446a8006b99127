"""What `seg-kd data check` says of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from repro_shared.runtime.errors import UserError
from repro_shared.study.identity import is_itself, other_than
from seg_kd.use.data import Found, LabelMaps, together


def check(source: LabelMaps, folder: Path, absent: bool = True) -> Iterator[str]:
    """Lines on each split: counts, what was passed over, classes, fingerprint, problems.

    Args:
        source: how the folder is read.
        folder: the folder.
        absent: also name the classes that never occur.

    Raises:
        UserError: at the end, if there were problems.
    """
    problems, prints = 0, list[str]()
    for training in (True, False):
        if not (training or source.test_split):
            continue
        try:
            found = source.survey(folder, training)
        except UserError as error:
            bad = [str(error)]
        else:
            yield from _counts(source, found, absent)
            bad = [*found.survey.problems.values(), *source.problems(found, training)]
            prints.append(found.survey.fingerprint)
        yield from (f"problem: {line}" for line in bad)
        problems += len(bad)
    if not problems and not is_itself(source, together(*prints)):
        yield f"{'problem' if source.known else 'note'}: {other_than(source)}"
        problems += bool(source.known)
    if problems:
        raise UserError(f"{folder}: {problems} problem{'s' if problems > 1 else ''}, see above")


def _counts(source: LabelMaps, found: Found, absent: bool) -> Iterator[str]:
    survey = found.survey
    yield f"{found.split}: {found.listing.sentence()}"
    sizes = sorted({*survey.sizes} - {(0, 0)}, key=lambda size: size[0] * size[1])
    ends = " to ".join(f"{w} x {h}" for h, w in dict.fromkeys((*sizes[:1], *sizes[-1:])))
    yield f"  {ends or 'no'} pixels; fingerprint {survey.fingerprint}"
    total = max(1, int(survey.pixels.sum()) + sum(survey.ignored.values()))
    for index, (name, count) in enumerate(zip(source.classes, survey.pixels, strict=True)):
        share = f"{count:14,} pixels {count / total:7.2%}" if count else "never occurs"
        if count or absent:
            yield f"  class {index:3} {name:20} {share}"
    for value, count in survey.ignored.items():
        yield f"  value {value:3} {'ignored':20} {count:14,} pixels {count / total:7.2%}"
