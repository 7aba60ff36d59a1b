"""What workers need before they begin; loaded once by the process they come from, which never sees a slide."""

from stbench.process import settle

settle()

import stbench.evaluation.worker  # noqa: E402, F401
