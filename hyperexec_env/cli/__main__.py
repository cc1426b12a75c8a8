"""The command ``hyperexec`` as ``python -m hyperexec_env.cli``."""

import sys

from hyperexec_env.cli import main

if __name__ == "__main__":
    sys.exit(main())
