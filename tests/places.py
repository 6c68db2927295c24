"""Where things are: the checkout, its golden files, and data of others that may lie beside it (else tests skip)."""

import os
import pathlib

REPO = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
SHARED = pathlib.Path(os.environ.get("JAXSKILL_SHARED") or REPO.parent / "shared")
POSE = pathlib.Path(os.environ.get("JAXSKILL_POSE_WEIGHTS") or pathlib.Path.home() / ".cache" / "jaxskill" / "weights" /
                    "mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl")          # as .ci/run downloads it
GOLDEN = pathlib.Path(os.environ.get("JAXSKILL_GOLDEN") or REPO / "tests" / "golden")
