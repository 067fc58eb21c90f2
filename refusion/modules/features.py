"""Units of the features of the sources, for torch and NumPy alike; see `refusion.modules.loss_proposal`."""

CONTRAST_WINDOW = 9
"""Side of the window of local contrast, in pixels."""

CONTRAST_FLOOR = 0.02
"""Mean gradient that counts as zero; noise in a flat area stays below it."""

RELATIVE_FLOOR = 0.1
"""As `CONTRAST_FLOOR`, relative to the mean gradient of the pair."""

BRIGHTNESS_SPAN = 2.5
"""Unit of relative brightness, in standard deviations of the pair."""

MIN_DEVIATION = 0.01
"""Standard deviation, or mean gradient, below which a pair counts as constant."""
