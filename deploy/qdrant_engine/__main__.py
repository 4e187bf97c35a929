"""Command line of the local Qdrant engine: `python -m deploy.qdrant_engine --port 6333 --path DIR`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import uvloop

from deploy.qdrant_engine.app import serve
from shared.standard_streams import protect


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, 2 when another process uses the folder."""
    parser = argparse.ArgumentParser(prog="qdrant_engine", description=__doc__)
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--path", type=Path, required=True, help="folder of the collections")
    options = parser.parse_args()
    protect()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Every engine call holds the interpreter lock: return it to the event loop quickly after each.
    sys.setswitchinterval(0.0005)
    try:
        uvloop.run(serve(options.path.resolve(), options.host, options.port))
    except BlockingIOError:
        print(f"another process uses {options.path}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
