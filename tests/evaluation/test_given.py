"""What a worker hands to a method."""

import numpy as np

from stbench.data.image import PatchSpec
from stbench.evaluation.given import Given, SlideFacts
from stbench.features.mapped import HeldArrays

from .conftest import Colours


class Messages:
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


def test_damaged_patches_are_said_where_the_worker_says_things(tmp_path):
    xy = np.array([[10, 10], [20, 20]], dtype=np.float32)
    facts = SlideFacts("s", "p", ["a", "b"], xy, None, None, Colours())
    features, labels = HeldArrays([("s", np.zeros((2, 1), np.float32))]), HeldArrays([])
    given = Given("e", {"s": facts}, features, labels, [], [], ["s"], PatchSpec(px=8), tmp_path)
    first = np.array(given.inputs()["s"].patches.array(8))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(bytes(path.stat().st_size))
    messages = Messages()
    np.testing.assert_array_equal(given.inputs(messages)["s"].patches.array(8), first)
    assert messages.lines == [f"patch cache entry {path} is damaged (its checksum differs); it is rebuilt"]
