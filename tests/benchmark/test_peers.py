"""What can be timed of a peer on this machine."""
import shutil

from jaxskill.benchmark import peers


def test_what_must_be_compiled_is_left_out_without_a_compiler(monkeypatch):
  said, forms = [], ["float32", "torch", "torch+compile", "torch+compile+autocast"]
  monkeypatch.delenv("CXX", raising=False)
  monkeypatch.setattr(shutil, "which", lambda name: "/bin/clang++" if name == "clang++" else None)
  assert peers.possible(forms, said.append) == forms and not said
  monkeypatch.setattr(shutil, "which", lambda name: None)
  assert peers.possible(iter(forms), said.append) == forms[:2]
  assert said == ["left out, as torch.compile needs a C++ compiler, and there is none: install g++: torch+compile, "
                  "torch+compile+autocast"]
  monkeypatch.setenv("CXX", "/opt/c++")
  assert peers.possible(forms, said.append) == forms and len(said) == 1
