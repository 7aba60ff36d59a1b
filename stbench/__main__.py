"""``python -m stbench``."""

import sys

from stbench.cli.main import program

sys.exit(program())
