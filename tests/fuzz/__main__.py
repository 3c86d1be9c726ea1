"""`make fuzz`: ten minutes of everything that the OpenAPI document allows, and much that it does not."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.schema import fuzz
from tests.serving import ROOT, Serve

WRITE_BUNDLE = "import sys, pathlib; from tests.bundles import make_tiny_bundle as m; m(pathlib.Path(sys.argv[1]))"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="of an earlier run, which it told")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bouquet-fuzz-") as name:
        folder = Path(name)
        bundle = folder / "tiny.safetensors"
        subprocess.run([sys.executable, "-c", WRITE_BUNDLE, str(bundle)], cwd=ROOT, check=True, capture_output=True)
        # Short waits, or the time would go into waiting for large jobs.
        settings = {"BOUQUET_BUNDLE": str(bundle), "BOUQUET_WAIT_LIMIT": "3", "BOUQUET_LOG_LEVEL": "warning"}
        with Serve(folder / "home", env=settings) as serve:
            url = serve.wait_until_ready()
            try:
                print(fuzz(url, folder / "report", seconds=round(60 * options.minutes), seed=options.seed))
            except AssertionError as error:
                print(error)
                return 1
            finally:
                print(serve.text[-4000:])
            faults = [line for line in serve.lines if "Traceback" in line or " ERROR " in line]
            print("\n".join(faults) or "The service met no error that was not foreseen.")
            return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
