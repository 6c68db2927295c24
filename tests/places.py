"""Where things are: the checkout, and data of others that may lie beside it; tests without them are skipped."""

import os
import pathlib

REPO = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
SHARED = pathlib.Path(os.environ.get("JAXSKILL_SHARED") or REPO.parent / "shared")
GOLDEN = pathlib.Path(os.environ.get("JAXSKILL_GOLDEN") or SHARED / "golden")
