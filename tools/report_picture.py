"""Makes the picture of the report that the README shows: the example is run, and its report photographed.

.venv/bin/python tools/report_picture.py     needs chromium: apt-get install chromium
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "src" / "rowmill" / "help" / "report.png"
_WIDTH, _HEIGHT = 1180, 905
_MOST_BYTES = 300 * 1024


def main() -> None:
    """Runs the example in a directory of its own and writes the picture. Exits with a message if that cannot be."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("There is no chromium here; install it (apt-get install chromium) and try again.")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        for arguments in (["init"], ["run", "spec.yaml"], ["report", "--output", "report.html"]):
            done = subprocess.run(
                [sys.executable, "-m", "rowmill", "-q", *arguments],
                cwd=directory,
                stdout=subprocess.DEVNULL,
                check=False,
            )
            # 3: complete, with dropped rows.
            if done.returncode not in (0, 3):
                sys.exit(f"'rowmill {' '.join(arguments)}' ended with exit code {done.returncode}.")
        picture = directory / "report.png"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
             f"--user-data-dir={directory / 'profile'}", f"--window-size={_WIDTH},{_HEIGHT}", f"--screenshot={picture}",
             (directory / "report.html").as_uri()],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        size = picture.stat().st_size
        if size > _MOST_BYTES:
            sys.exit(f"The picture has {size:,} bytes, more than {_MOST_BYTES:,}; make it smaller.")
        shutil.copyfile(picture, PICTURE)
    print(PICTURE, f"{size:,} bytes")


if __name__ == "__main__":
    main()
