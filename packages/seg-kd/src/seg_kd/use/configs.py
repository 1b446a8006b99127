"""mmseg config files: a user's own, and those that mmseg brings along.

mmengine finds a config by package name with pkg_resources, which current setuptools dropped, and
knows mmsegmentation only by that name; nothing is downloaded here.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

from repro_shared.runtime.errors import UserError

PACKAGE = "mmseg::"  # in front of a config of mmseg's own


def read_config(path: str) -> Any:
    """A config file as mmengine's `Config`; it and its `_base_` may be `mmseg::<folder>/<file>`.

    Raises:
        UserError: no such file, or one that cannot be read.
    """
    from mmengine.config import Config

    own = Config._get_cfg_path

    def found(base: str, filename: str) -> tuple[str, str | None]:
        return (packaged_config(base), None) if "::" in base else own(base, filename)

    file = packaged_config(path) if "::" in path else path
    if not Path(file).is_file():
        raise UserError(f"no mmseg config at {path}")
    Config._get_cfg_path = staticmethod(found)
    try:
        return Config.fromfile(file)
    except UserError:
        raise
    except Exception as error:  # a config is a program, and may fail in any way
        raise UserError(f"{path} cannot be read as an mmseg config: {error}") from error
    finally:
        Config._get_cfg_path = staticmethod(own)


def packaged_config(name: str) -> str:
    """Path of a config that mmseg brings along, `mmseg::<folder>/<file>.py`; nothing is downloaded.

    Raises:
        UserError: another package's, or no such file.
    """
    spec = util.find_spec("mmseg")
    if not name.startswith(PACKAGE) or spec is None or spec.origin is None:
        raise UserError(f"{name}: only mmseg's own configs are found by name: {PACKAGE}FOLDER/FILE")
    folder = Path(spec.origin).parent / ".mim" / "configs"
    file = folder / name.removeprefix(PACKAGE)
    if not file.is_file():
        near = file.parent if file.parent.is_dir() else folder
        raise UserError(f"mmseg brings no {name}: see the files in {near}")
    return str(file)
