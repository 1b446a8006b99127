"""Canonical distillation losses for semantic segmentation: logits and intermediate features.

Pure torch. Everywhere B is images, C classes or channels, H x W positions of the student's own
grid (logits at stride 8 in most PSPNet recipes), z logits, T temperature. The teacher is always
detached. Where the two maps differ in size the TEACHER's is resized (bilinear,
`align_corners=False`) to the student's grid: the loss then averages over the positions that the
student really predicts, and no gradient passes through an interpolation, whose CUDA backward is
not deterministic.

Half-precision inputs are computed in float32, so the functions may be called under autocast.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Reduction = Literal["pixel_mean", "element_mean", "batch_sum"]
FeatureReduction = Literal["element_mean", "batch_sum"]
Normalisation = Literal["none", "channel-std", "pixel-l2", "layernorm"]
Distance = Literal["mse", "smooth-l1", "cosine"]

# Added to the variance, as in batch norm. A constant channel becomes 0, its slope stays below 320.
_VARIANCE_EPSILON = 1e-5
# Smallest norm a feature vector is divided by: behind a ReLU whole vectors are zero, and the
# customary 1e-12 would give their gradient a slope of 1e12.
SMALLEST_NORM = 1e-3


def logit_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    reduction: Reduction = "pixel_mean",
) -> Tensor:
    """Kullback-Leibler divergence from the teacher's to the student's class distribution.

    At each position D = sum over classes of p_T (log p_T - log p_S), p = softmax(z / T)
    (Hinton et al., arXiv 1503.02531, section 2, applied at each pixel). Popular code bases reduce D
    in three ways, so that "logit KD with weight 1" means three losses (V valid positions):

    =============== ============================ ======== ================================
    reduction       formula                      T^2      as computed by
    =============== ============================ ======== ================================
    `pixel_mean`    T^2 * sum D / V              yes      CIRKD (its default T is 1); ours
    `element_mean`  sum D / (V * C)              no       TorchDistiller (KLDivLoss' mean)
    `batch_sum`     T^2 * sum D / B              yes      mmrazor (batchmean in 4-D)
    =============== ============================ ======== ================================

    With all positions valid, element_mean = pixel_mean / (C * T^2) and
    batch_sum = pixel_mean * H * W. None of the three code bases masks ignored pixels; `valid` is
    ours, and applies to all three. T^2 keeps the gradient's size when T grows: for T -> infinity
    the gradient of `pixel_mean` at one position tends to (z_S - z_T, both centred) / (C * V).

    Args:
        student_logits: (B, C, H, W).
        teacher_logits: (B, C, H', W'), resized to H x W where it differs. Detached.
        temperature: T > 0.
        valid: (B, H, W) bool, False where a position is left out; see `valid_mask`.
        reduction: see the table.

    Returns:
        Scalar >= 0, float32 for half-precision input. No valid position gives 0 with gradient 0.

    Raises:
        ValueError: shapes that do not fit, T <= 0, an unknown reduction.
    """
    check_option("reduction", reduction, Reduction)
    check_temperature(temperature)
    student, teacher = matched("logits", student_logits, teacher_logits)
    images, classes, height, width = student.shape
    if temperature != 1.0:
        student, teacher = student / temperature, teacher / temperature

    log_student = F.log_softmax(student, dim=1)
    log_teacher = F.log_softmax(teacher, dim=1)
    positions: Tensor | int
    if valid is None:
        total = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
        positions = images * height * width
    else:
        _check_valid(valid, (images, height, width))
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
        total = divergence.masked_fill(~valid, 0.0).sum()
        positions = valid.sum().clamp(min=1)

    if reduction == "pixel_mean":
        return total * temperature**2 / positions
    if reduction == "element_mean":
        return total / (positions * classes)
    return total * temperature**2 / images


def feature_distillation(
    student_feature: Tensor,
    teacher_feature: Tensor,
    *,
    normalise: Normalisation = "none",
    distance: Distance = "mse",
    reduction: FeatureReduction = "element_mean",
) -> Tensor:
    """Distance between the student's projected feature map and the teacher's.

    The default, the mean squared error over all elements of plain features behind a 1x1 convolution
    (`FeatureProjector`), is FitNets' hint loss (arXiv 1412.6550, eq. 3) as CIRKD uses it, where its
    weight is 10 and logit distillation is always added.

    Both maps are normalised first: `none`; `channel-std` (zero mean and unit standard deviation of
    every channel over batch and space: with `mse` twice PKD's loss, arXiv 2207.02039); `pixel-l2`
    (each position's vector to unit length); `layernorm` (each position's vector to zero mean and
    unit variance over channels, no learned scale).

    Distances: `mse` and `smooth-l1` (beta 1) are means over B * C * H * W; `cosine` is the mean
    over B * H * W of 1 - cosine between the two vectors of a position. `element_mean` is that mean
    (CIRKD's reduction); `batch_sum` is the sum over what the mean runs over, divided by B
    (mmrazor's for features, and MGD's): C * H * W times as large, for `cosine` H * W times.

    Args:
        student_feature: (B, C, H, W), already projected to the teacher's channels.
        teacher_feature: (B, C, H', W'), resized to H x W where it differs, before it is
            normalised. Detached.
        normalise: see above.
        distance: see above.
        reduction: see above.

    Returns:
        Scalar >= 0, float32 for half-precision input.

    Raises:
        ValueError: shapes that do not fit, an unknown option, `channel-std` of a single value.
    """
    check_option("normalise", normalise, Normalisation)
    check_option("distance", distance, Distance)
    check_option("reduction", reduction, FeatureReduction)
    student, teacher = matched("feature", student_feature, teacher_feature)
    student, teacher = _normalised(student, normalise), _normalised(teacher, normalise)
    _, channels, height, width = student.shape
    if distance == "mse":
        mean, elements = F.mse_loss(student, teacher), channels * height * width
    elif distance == "smooth-l1":
        mean, elements = F.smooth_l1_loss(student, teacher), channels * height * width
    else:
        if normalise != "pixel-l2":
            student, teacher = unit_vectors(student), unit_vectors(teacher)
        mean, elements = 1.0 - (student * teacher).sum(dim=1).mean(), height * width
    return mean if reduction == "element_mean" else mean * elements


class FeatureProjector(nn.Module):
    """1x1 convolution without bias from the student's channels to the teacher's.

    It is trained with the student and thrown away afterwards. PyTorch's default initialisation.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's.
        batch_norm: whether a batch norm follows the convolution.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(teacher_channels) if batch_norm else None

    def forward(self, feature: Tensor) -> Tensor:
        """Maps (B, student_channels, H, W) to (B, teacher_channels, H, W)."""
        projected: Tensor = self.conv(feature)
        return projected if self.norm is None else self.norm(projected)


def resize_bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes (B, C, H, W) to (B, C, *size); returns `maps` itself where nothing changes."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def matched(
    what: str, student: Tensor, teacher: Tensor, *, same_channels: bool = True
) -> tuple[Tensor, Tensor]:
    """A student's and a teacher's map (B, C, H, W), ready to be compared.

    Both float32 (or wider); the teacher's detached, and on the student's grid.

    Raises:
        ValueError: shapes that do not fit; it calls the maps `what`.
    """
    _check_pair(what, student, teacher, same_channels)
    student = student.float() if student.dtype in (torch.float16, torch.bfloat16) else student
    teacher = teacher.detach().to(student.dtype)
    return student, resize_bilinear(teacher, (student.shape[2], student.shape[3]))


def full_precision(maps: Tensor) -> AbstractContextManager[Any]:
    """Products inside have the maps' own precision, whatever autocast says outside."""
    if maps.is_meta:  # has no autocast
        return nullcontext()
    return torch.autocast(maps.device.type, enabled=False)


def valid_mask(label: Tensor, size: tuple[int, int], *, ignore_index: int = 255) -> Tensor:
    """Positions of a coarser (or finer) grid whose nearest label pixel is not ignored.

    Args, result and errors as of `resize_labels`; True where the label counts.
    """
    return resize_labels(label, size) != ignore_index


def resize_labels(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Label of the nearest pixel at every position of a coarser (or finer) grid.

    The nearest pixel is the one that holds the position's centre, the reading of the grid that
    `align_corners=False` has: at stride 8 position 0 looks at pixel 4.

    Args:
        label: (B, H, W), or (B, 1, H, W) as mmseg stacks them; integers.
        size: (h, w) of the grid.

    Returns:
        (B, h, w), as `label`.

    Raises:
        ValueError: `label` has another shape, or either size is empty.
    """
    if label.dim() == 4 and label.shape[1] == 1:
        label = label[:, 0]
    if label.dim() != 3:
        raise ValueError(f"label must be (B, H, W) or (B, 1, H, W), got {tuple(label.shape)}")
    if min(*label.shape, *size) < 1:
        raise ValueError(f"cannot resize a label map {tuple(label.shape)} to {tuple(size)}")
    if label.shape[1:] != size:
        # floor((i + 0.5) * old / new) in integers, exact for every size.
        rows, columns = (
            (2 * torch.arange(new, device=label.device) + 1) * old // (2 * new)
            for old, new in zip(label.shape[1:], size, strict=True)
        )
        label = label[:, rows[:, None], columns]
    return label


def _normalised(feature: Tensor, normalise: Normalisation) -> Tensor:
    if normalise == "none":
        return feature
    if normalise == "pixel-l2":
        return unit_vectors(feature)
    if normalise == "layernorm":
        channels_last = feature.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, channels_last.shape[-1:], eps=_VARIANCE_EPSILON)
        return normed.permute(0, 3, 1, 2)
    if feature.numel() == feature.shape[1]:
        raise ValueError(f"channel-std needs more than one value per channel: {feature.shape}")
    return F.batch_norm(feature, None, None, training=True, eps=_VARIANCE_EPSILON)


def unit_vectors(feature: Tensor) -> Tensor:
    """Every position's vector over channels to length 1; ones below 1e-3 stay shorter."""
    return F.normalize(feature, dim=1, eps=SMALLEST_NORM)


def _check_pair(what: str, student: Tensor, teacher: Tensor, same_channels: bool) -> None:
    shapes = f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
    if student.dim() != 4 or teacher.dim() != 4:
        raise ValueError(f"{what} must be (B, C, H, W): {shapes}")
    if student.shape[0] != teacher.shape[0] or (
        same_channels and student.shape[1] != teacher.shape[1]
    ):
        both = "batch and channels" if same_channels else "batch"
        raise ValueError(f"{what} must agree in {both}: {shapes}")
    if student.numel() == 0 or teacher.numel() == 0:
        raise ValueError(f"{what} must not be empty: {shapes}")


def _check_valid(valid: Tensor, expected: tuple[int, int, int]) -> None:
    if valid.dtype != torch.bool or valid.shape != expected:
        raise ValueError(
            f"valid must be bool {expected} (B, H, W of the student's logits),"
            f" got {valid.dtype} {tuple(valid.shape)}"
        )


def check_temperature(temperature: float) -> None:
    """ValueError for one that is not above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def check_option(name: str, value: str, options: object) -> None:
    """ValueError for a value that is none of a Literal's."""
    if value not in get_args(options):
        raise ValueError(f"{name} must be one of {', '.join(get_args(options))}; got {value!r}")
