"""`python -m unrender` is `unrender`."""

import sys

from unrender.cli import main

if __name__ == "__main__":
    sys.exit(main())
