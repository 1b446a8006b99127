"""Commands start without the libraries that only some of their verbs need."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("diffusers", "open_clip", "peft", "sklearn", "timm", "torchvision", "transformers")
# Not here: amod registers its models with timm on import, and seg-kd's modules are mmengine's,
# which loads transformers.
LIGHT = ("cg_augment", "clip_distill", "ofds")


@pytest.mark.parametrize("package", LIGHT)
def test_a_command_imports_slow_libraries_where_it_uses_them(package: str) -> None:
    code = f"import sys, {package}.cli; print(*sorted({{*{SLOW}}} & {{*sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split() == []
