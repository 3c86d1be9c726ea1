"""`python -m app`: the same as the `bouquet` command."""

import sys

# Before the import of anything that an older Python could not even read.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("Bouquet needs Python 3.11, 3.12 or 3.13. `make serve` finds one that is installed.")

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
