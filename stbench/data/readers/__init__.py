"""Readers of the layouts in which slides lie on disk."""

from stbench.data.readers import her2st, hest, spaceranger
from stbench.data.readers.layout import Layout

READERS: dict[str, Layout] = {
    "her2st": her2st.LAYOUT,
    "hest": hest.LAYOUT,
    "spaceranger": spaceranger.LAYOUT,
}
