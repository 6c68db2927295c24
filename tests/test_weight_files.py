"""Files of weights: what is read of them, what is refused, and in which words."""

import zipfile

import numpy as np
import pytest

from jaxskill import weight_files


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_files_of_weights(tmp_path, ending):
  state = {"module.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "module.a.bias": np.ones(2, np.float32)}
  file = tmp_path / f"net.{ending}"
  if ending == "safetensors":
    pytest.importorskip("safetensors.numpy").save_file(state, file)
  else:
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {k: torch.from_numpy(v) for k, v in state.items()}, "epoch": 3}, file)
  found = weight_files.read_weights(file)
  assert sorted(found) == ["a.bias", "a.weight"]
  np.testing.assert_array_equal(found["a.weight"], state["module.a.weight"])
  file.write_bytes(file.read_bytes()[:20])
  with pytest.raises(ValueError, match="cannot be read as weights"):
    weight_files.read_weights(file)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
  torch = pytest.importorskip("torch")
  file = tmp_path / "net.pt"
  torch.save({"a": print}, file)
  with pytest.raises(ValueError, match=r"net.pt: holds more than tensors .*print.*expected a state_dict alone") as refused:
    weight_files.read_weights(file)
  assert "weights_only" not in str(refused.value) and "\n" not in str(refused.value)


def test_missing_packages_are_named(tmp_path, monkeypatch):
  file = tmp_path / "net.pt"
  file.write_bytes(b"x")
  monkeypatch.setattr(weight_files.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"needs the package torch, .*pip install 'jaxskill\[weights\]'"):
    weight_files.read_weights(file)


@pytest.mark.parametrize("content,message", [
    (lambda torch: {1: torch.zeros(2)}, "a tensor is called 1; expected a state_dict, with the names of layers"),
    (lambda torch: {None: torch.zeros(2)}, "a tensor is called None"),
    (lambda torch: [torch.zeros(2)], "holds a list; expected a state_dict"),
    (lambda torch: {"state_dict": [1]}, "holds a list; expected a state_dict"),
    (lambda torch: {"epoch": 3}, "holds no tensors"),
    (lambda torch: {"a": torch.zeros(3, 3).to_sparse()}, "the tensor 'a' is sparse, quantized"),
    (lambda torch: {"a": torch.zeros(3, dtype=torch.complex64)}, "the tensor 'a' is sparse, quantized, complex"),
    (lambda torch: {"a": torch.zeros(3, device="meta")}, "the tensor 'a' is .* without numbers of its own"),
    (lambda torch: dict.fromkeys(map(str, range(99)), torch.zeros(10 ** 5).half()), "its tensors share the same numbers again"),
    (lambda torch: {"a": torch.zeros(1).expand(10 ** 12)}, "the tensor 'a' is .* without numbers of its own"),
    (lambda torch: {"a": np.float64(1)}, "holds more than tensors"),
])
def test_files_of_weights_that_hold_something_else(tmp_path, content, message):
  torch = pytest.importorskip("torch")
  file = tmp_path / "net.pt"
  torch.save(content(torch), file)
  with pytest.raises(ValueError, match=f"net.pt: {message}"):
    weight_files.read_weights(file)


def test_compressed_weights_are_refused(tmp_path):
  """PyTorch unpacks what it is given: 4 MB of zeros come in 4 kB."""
  torch = pytest.importorskip("torch")
  torch.save({"a": torch.zeros(10 ** 6)}, tmp_path / "whole.pt")
  with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as net:
    for name in whole.namelist():
      net.writestr(name, whole.read(name))
  with pytest.raises(ValueError, match="net.pt: is compressed, which torch.save never does"):
    weight_files.read_weights(tmp_path / "net.pt")


@pytest.mark.parametrize("head,message", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of Git LFS, not the file itself; fetch"),
    (b"\n<!DOCTYPE html><title>404", "is a web page, not the file itself"),
])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_what_stands_in_for_weights(tmp_path, name, head, message):
  pytest.importorskip("torch")
  pytest.importorskip("safetensors")
  (tmp_path / name).write_bytes(head)
  with pytest.raises(ValueError, match=f"{name}: {message}"):
    weight_files.read_weights(tmp_path / name)
