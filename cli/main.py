"""The entry point: takes over signals and descriptors, runs the command, and makes an exit code of whatever ends it."""

from __future__ import annotations

import sys

from farlayer.cli.descriptors import prepare_descriptors
from farlayer.cli.signals import interrupts


def main() -> None:
    """Runs `farlayer` with the arguments of this process, and exits."""
    interrupts.install()  # before the imports, which take longer than an impatient user
    prepare_descriptors()
    try:
        from farlayer.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
