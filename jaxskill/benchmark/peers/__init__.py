"""What is compared with: PyTorch as the official code computes, and other libraries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable

NO_COMPILER = "needs a C++ compiler, and there is none: install g++"


def has_compiler() -> bool:
  """Returns whether there is a C++ compiler, which `torch.compile` needs."""
  return bool(os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++"))


def possible(forms: Iterable[str], say: Callable[[str], None]) -> list[str]:
  """Returns the forms that nobody asked for by name and that can be timed here, and says which cannot."""
  forms = list(forms)
  left_out = [form for form in forms if "compile" in form.split("+") and not has_compiler()]
  if left_out:
    say(f"left out, as torch.compile {NO_COMPILER}: {', '.join(left_out)}")
  return [form for form in forms if form not in left_out]
