"""What is read out of a compiled program, and the bounds that stand beside it; no compiler is needed here."""

import pytest

from jaxskill.benchmark import compilers
from jaxskill.benchmark.systems import find

PROGRAM = """HloModule jit_run, is_scheduled=true

%fused (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %add.1 = f32[8]{0} add(%x, %x), backend_config={"w":{"estimated_cycles":"1000000"}}
}

%scanned (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s = (s32[], f32[8]{0}) parameter(0)
  ROOT %fusion.1 = f32[8]{0} fusion(%s), kind=kLoop, calls=%fused, backend_config={"w":{"estimated_cycles":"10"}}
}

%few (s: (s32[], f32[8])) -> pred[] {
  %turns = s32[]{:T(128)} constant(25)
  ROOT %less = pred[] compare(%i, %turns), direction=LT
}

%step (s: (s32[], /*index=1*/s32[], f32[8])) -> (s32[], s32[], f32[8]) {
  %while.1 = (s32[], /*index=1*/f32[8]{0}) while(%t), condition=%few, body=%scanned
  %copy.1 = f32[8]{0} copy(%a), backend_config={"w":{"estimated_cycles":"7"}}
  %copy-start.1 = (f32[8]{0}, f32[8]{0}) copy-start(%a)
  %either = f32[8]{0} conditional(%p, %a, %a), branch_computations={%dear, %scanned}
}

%dear (s: f32[8]) -> f32[8] {
  ROOT %copy.2 = f32[8]{0} copy(%s), backend_config={"w":{"estimated_cycles":"500"}}
}

%asked (s: (s32[], s32[], f32[8])) -> pred[] {
  ROOT %less.1 = pred[] compare(%i, %cycles), direction=LT
}

ENTRY %main (state: f32[8], cycles: s32[]) -> f32[8] {
  %fusion.2 = f32[8]{0} fusion(%state), kind=kLoop, calls=%fused, backend_config={"w":{"estimated_cycles":"3"}}
  %called = f32[8]{0} call(%state), to_apply=%dear
  %while.2 = (s32[], s32[], f32[8]{0}) while(%tuple), condition=%asked, body=%step
}
"""


def test_cycles_are_summed_over_loops_branches_and_calls():
  assert compilers.estimated_cycles(PROGRAM) == (25 * 10 + 7 + 500, 3 + 500)


def test_bounds(quick_compile):
  trainer, shape = compilers.trainer_of("action_net", ("--config.train.optimizer=adam",), "tiny", "float32")
  products, traffic = compilers.bounds(trainer, shape)
  assert products == pytest.approx(6 * find("action_net").flops(trainer.config, shape) / 131072)
  parameters = sum(x.nbytes for x in trainer.state.params["streams"]["rgb"]["embed_1"].values())
  assert traffic > 6 * parameters / compilers.BYTES                # written and read, with both moments
  features = 4 * (4 * 6 * 12 + 4 * 5 * 8)                          # of four videos, all rows
  rest = traffic * compilers.BYTES - features
  half, _ = compilers.trainer_of("action_net", ("--config.train.optimizer=adam",), "tiny", "bfloat16")
  assert compilers.bounds(half, shape)[1] * compilers.BYTES == pytest.approx(rest + features / 2)


def test_says_what_is_missing(monkeypatch):
  monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(SystemExit) as status:
    compilers.main(["--systems", "core", "--shape", "tiny"])
  assert status.value.code == 2


def test_refuses_a_shape_that_is_unknown():
  with pytest.raises(ValueError, match="--shape=huge is unknown to core; use one of paper, tiny"):
    compilers.trainer_of("core", (), "huge", "float32")
