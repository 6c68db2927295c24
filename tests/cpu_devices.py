"""Times a training step on one CPU device and on one a core, in turns: python tests/cpu_devices.py CONFIG [overrides].

On a busy machine wall times say little. Linux tells how long each thread ran and how long it waited for a core; both
together, over the time that passed, are the threads P that had work at a time, and a quiet machine of two cores would
take (3 - P) / 2 of the processor time: P is 1.03 for a loop of small operations, 1.99 for one of large products.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROUNDS, STEPS, SECONDS = 7, 4, 2.0


def threads():
  """{thread: (seconds that it ran, seconds that it was ready to run)}."""
  found = {}
  for path in pathlib.Path("/proc/self/task").iterdir():
    ran, waited, _ = map(int, (path / "schedstat").read_text().split())
    found[path.name] = (ran / 1e9, (ran + waited) / 1e9)
  return found


def worker(config, *overrides):
  """Takes as many steps as each line of the input says; prints ms a step: wall, processor, estimate."""
  from jaxskill import cli, data, train
  from jaxskill.training import parallel, sizes
  cli.use_compilation_cache()
  config, _ = cli.read_config(config, overrides)
  config.train.epochs = 10 ** 6            # it must not end while it is timed
  dataset = data.load(config.data)
  trainer = train.Trainer(sizes.decide(config, dataset), dataset, parallel.Parallel())
  trainer.take(STEPS)
  for line in sys.stdin:
    before, begun = threads(), time.perf_counter()
    for _ in range(int(line)):
      trainer.take(STEPS)
    wall = time.perf_counter() - begun
    ran, ready = (sum(now[i] - before.get(name, (0, 0))[i] for name, now in threads().items()) for i in (0, 1))
    print(json.dumps([1e3 * x / STEPS / int(line) for x in (wall, ran, ran * (3 - ready / wall) / 2)]), flush=True)


def main(*arguments):
  counts, found = (1, len(os.sched_getaffinity(0))), {}
  workers = {count: subprocess.Popen([sys.executable, __file__, "worker", *arguments], text=True, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, env=os.environ | dict(JAX_NUM_CPU_DEVICES=str(count)))
             for count in counts}

  def ask(count, calls):
    print(calls, file=workers[count].stdin, flush=True)
    return json.loads(workers[count].stdout.readline())

  calls = {count: max(1, round(SECONDS / (STEPS * ask(count, 1)[0] / 1e3))) for count in counts}
  for _ in range(ROUNDS):
    for count in counts:
      found.setdefault(count, []).append(ask(count, calls[count]))
  for count in counts:
    for name, values, first in zip(("wall", "processor", "quiet, estimated"), zip(*found[count]), zip(*found[1])):
      ratio = statistics.median(a / b for a, b in zip(values, first))
      print(f"{count} device(s), {name}: {statistics.median(values):.1f} ms/step ({min(values):.1f} to "
            f"{max(values):.1f}), {ratio:.2f} of one device")
    workers[count].stdin.close()
    workers[count].wait()


if __name__ == "__main__":
  worker(*sys.argv[2:]) if sys.argv[1] == "worker" else main(*sys.argv[1:])
