"""How a peer script hands over what it timed: as the reports read it."""

import json
import sys
from pathlib import Path


def write_result(result, place):
    """To the file `place`, or to standard output for "-"; ends the program with an error if a variant failed."""
    text = json.dumps(result, indent=1) + "\n"
    if place == "-":
        sys.stdout.write(text)
    else:
        Path(place).write_text(text)
    failed = [f"{j} {v}" for j, job in result["jobs"].items() for v, variant in job["variants"].items() if "error" in variant]
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}")
