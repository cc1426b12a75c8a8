"""Entry point of ``python -m hyperexec_env.cli``, the same as the command ``hyperexec``."""

import sys

from hyperexec_env.cli import main

if __name__ == "__main__":
    sys.exit(main())
