"""Serves trackio's live page on loopback until its input closes: ``python -m metrics.trackio_page PROJECT``."""

from __future__ import annotations

import os
import sys
import threading


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    import trackio

    threading.Thread(target=_end_with_parent, daemon=True).start()
    trackio.show(project=sys.argv[1], open_browser=False, block_thread=True, host="127.0.0.1")


if __name__ == "__main__":
    main()
