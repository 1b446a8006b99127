"""`cg-augment data check`: what a data set holds, by group, and what cannot be read."""

from __future__ import annotations

from cg_augment.use.pictures import check_files
from cg_augment.use.sources import Kind, Split, grouped_source
from repro_shared.evidence.tables import Cell, Column, Table


def data_check(
    directory: str, *, set: Kind = "folders", split: tuple[Split, ...] = ("train", "test")
) -> None:
    """Verify a data set: pictures of each group in each split, unreadable files, fingerprint.

    Args:
        directory: class folders, or a data set in its original layout; "" for an installed package.
        set: folders (each class is a group), groups (CLASS/GROUP/ folders), celeba, spuco-birds or
            elpv.
        split: which parts.
    """
    found = {part: grouped_source(set, directory, part) for part in split}
    check_files([each.pictures for each in found.values()])
    names = list(dict.fromkeys(name for each in found.values() for name in each.names))
    sizes = [dict(zip(each.names, each.sizes, strict=True)) for each in found.values()]
    rows = list[tuple[Cell, ...]]()
    for name in names:
        rows.append((name, *(size.get(name, 0) for size in sizes)))
    columns = (Column("group"), *(Column(part) for part in found))
    notes = [f"sha256 of {part}: {each.fingerprint()}." for part, each in found.items()]
    title = f"Pictures of each group in {directory or set}, all readable"
    print(Table("pictures", title, columns, tuple(rows), tuple(notes)).to_terminal())
