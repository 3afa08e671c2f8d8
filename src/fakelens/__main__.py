"""The command `fakelens`, and `python -m fakelens`."""

import sys

from fakelens.core.stopping import Stopped, stopped_by_signals


def main() -> None:
    """Run the command line; a signal ends it with one line and its status, also while it is still being imported."""
    try:
        with stopped_by_signals():
            from fakelens import cli

            cli.main()
    except Stopped as stop:
        stop.say()
        sys.exit(stop.status)


if __name__ == "__main__":
    main()
