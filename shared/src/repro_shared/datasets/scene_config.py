"""Settings of composed digit scenes (ours)."""

from dataclasses import dataclass

from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class SceneConfig:
    """What the scenes look like, and how hard they are for a small network."""

    size: int = 96  # side of the square image, in pixels
    # Which digits occur; the label of a digit is 1 + its place here. Few digits are told apart
    # after hundreds of training iterations, all ten only after thousands.
    digits: tuple[int, ...] = tuple(range(10))
    min_digits: int = 2  # per scene; a digit that finds no admissible place is left out
    max_digits: int = 5
    min_scale: float = 18  # longer side of a digit's ink before rotation, in pixels
    max_scale: float = 40
    rotation: float = 15  # largest rotation to either side, in degrees
    shear: float = 0.15  # largest horizontal shear to either side, as shift per unit of height
    class_imbalance: float = 0.0  # Zipf exponent a: rank r in `CLASS_ORDER` has weight r ** -a
    occlusion: float = 0.3  # largest fraction of its pixels that later digits, together, may cover
    # Difference of the ink's mean colour to what it covers: largest over RGB, fraction of 255.
    min_contrast: float = 0.3
    max_contrast: float = 0.8
    colour: float = 1.0  # 1: ink differs in any direction of RGB; 0: in lightness only, harder
    brighter: bool = False  # ink is lighter in every channel, never darker: much easier to learn
    backdrop: float = 1.0  # brightness of the photographs, 0 to 1: room for lighter ink
    texture: float = 0.0  # deviation of a photograph's pattern on the ink, fraction of full range
    # Pieces cut out of digits, beneath the digits, labelled background. They are never longer than
    # 0.6 * `min_scale`, so that none is a whole digit (a short stroke of a 4 would be a 1).
    clutter: int = 0
    noise: float = 0.02  # standard deviation of Gaussian pixel noise, fraction of the full range
    # Width in pixels of the band of background around a digit's ink that belongs to the digit: thin
    # strokes alone cannot be drawn on the grid of a network of stride 8.
    margin: int = 0
    # Width in pixels of the band of background around digits that is labelled 255. It lies outside
    # the digits only: strokes of 2 or 3 pixels would have no inside left.
    ignore_border: int = 0
    min_visible: int = 12  # digits with fewer visible pixels are no instances, but labelled 255

    def __post_init__(self) -> None:
        """Refuse values that cannot be composed, naming the field."""
        digits = set(self.digits)
        checks = {
            "size must be an integer of at least 16": self.size == int(self.size) >= 16,
            "digits must be distinct integers of 0 to 9": (
                0 < len(self.digits) == len(digits & set(range(10)))
            ),
            "min_digits must be 1 to max_digits": 1 <= self.min_digits <= self.max_digits <= 200,
            "min_scale must be 8 to max_scale": 8 <= self.min_scale <= self.max_scale,
            "max_scale must be at most 0.7 * size": self.max_scale <= 0.7 * self.size,
            "rotation must be 0 to 45 degrees": 0 <= self.rotation <= 45,
            "shear must be 0 to 0.5": 0 <= self.shear <= 0.5,
            "class_imbalance must be 0 to 10": 0 <= self.class_imbalance <= 10,
            "occlusion must be 0 to 1": 0 <= self.occlusion <= 1,
            "min_contrast must be 0 to max_contrast": 0 <= self.min_contrast <= self.max_contrast,
            "max_contrast must be at most 1": self.max_contrast <= 1,
            "colour must be 0 to 1": 0 <= self.colour <= 1,
            "backdrop must be 0 to 1": 0 <= self.backdrop <= 1,
            "texture must be 0 to 1": 0 <= self.texture <= 1,
            "clutter must be 0 to 1000": 0 <= self.clutter <= 1000,
            "noise must be 0 to 1": 0 <= self.noise <= 1,
            "margin must be 0 to 16 pixels": 0 <= self.margin <= 16,
            "ignore_border must be 0 to 16 pixels": 0 <= self.ignore_border <= 16,
            "min_visible must be at least 1 pixel": self.min_visible >= 1,
        }
        for rule, holds in checks.items():
            if not holds:
                raise UserError(f"SceneConfig: {rule}, got {getattr(self, rule.split()[0])}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels: background, then the digits in their order."""
        return ("background", *(f"digit {digit}" for digit in self.digits))
