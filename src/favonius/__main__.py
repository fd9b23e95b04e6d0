"""`python -m favonius` is the command `favonius`."""

import sys

from favonius.cli import main

sys.exit(main())
