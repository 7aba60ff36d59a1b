"""``python -m stbench``."""

import sys

from stbench.cli.main import main

sys.exit(main())
