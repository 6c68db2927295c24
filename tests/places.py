"""Where things are: the checkout, its golden files, and data of others that may lie beside it (else tests skip)."""

import os
import pathlib

REPO = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
SHARED = pathlib.Path(os.environ.get("JAXSKILL_SHARED") or REPO.parent / "shared")
GOLDEN = pathlib.Path(os.environ.get("JAXSKILL_GOLDEN") or REPO / "tests" / "golden")
