"""`python -m convjit` is the command `convjit`."""

import sys

from convjit.cli import main

sys.exit(main())
