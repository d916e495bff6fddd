"""Gate D1 in short; `scripts/broken_images.py` has the long form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "broken_images.py"


def test_damaged_images_are_decoded_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--count", "700", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "700 images: each decoded or refused with a reason" in done.stdout
