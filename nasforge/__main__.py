"""`python -m nasforge`, the same as the command `nasforge`."""

import sys

from nasforge.cli import main

sys.exit(main())
