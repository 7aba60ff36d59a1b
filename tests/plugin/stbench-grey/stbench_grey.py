"""How dark a patch is: quantiles of its grey values."""

import numpy as np

from stbench.features.encoder import Encoder

QUANTILES = np.linspace(0, 1, 9)


class Grey(Encoder):
    """Nine quantiles, 0 to 1 of the colour of bare glass; a constructor may also ask for ``weights`` and ``device``."""

    key = "grey/1"  # the name, then a version: another computation needs another key
    dim = len(QUANTILES)

    def encode(self, patches, *, white_point, um_per_px):
        grey = (patches / white_point).mean(axis=-1).reshape(len(patches), -1)
        return np.quantile(grey, QUANTILES, axis=1).T.astype(np.float32)  # (b, 9)
