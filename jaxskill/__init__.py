"""Skill assessment and action quality assessment in JAX.

Rooms, from top to bottom. Each imports those below it and none above; files of one room may import each other, without
circles. A test holds this.

  __main__      jaxskill COMMAND: the commands below by one name
  reproduce     tables, figures and claims of the papers, by one command each
  compare       python -m jaxskill.compare: which of two new videos is better
  assess        python -m jaxskill.assess: a finished run and new videos -> answers, pages, pictures
  benchmark     python -m jaxskill.benchmark: speed, against peers and the machine's own limit
  extract       python -m jaxskill.extract: video files -> features
  collect       python -m jaxskill.collect: runs of single folds and seeds -> one table
  main          python -m jaxskill.main: reads the config, then trains or makes a table
  ablations     tables of rows: configs that differ from one base
  train         the one loop; it knows no method by name
  report        what a training run leaves: results.json, tables, plots, answers in words
  training      what a run is made of: batches, the step, answers, checkpoints, logs, the finished run
  methods       the contract of a method, and one file a system; README.md there says how to add one
  pretrained    public video networks with their weights
  interop       PyTorch state_dicts of the published systems, in and out
  modules       Flax modules and operations: they know tensors, no data sets and no configs
  evaluate      metrics, truth, protocols, and baselines that need no network
  data          the data contract, its readers, checks, splits and the simulation
  files         files whole or not at all, JSON, digests, provenance
  cli           configs, errors in a line, signals, exit statuses
  overrides     --config.FIELD=VALUE

`configs/` holds one file a system, outside the package in a checkout; nothing of a method stands above `methods`, but
in benchmark/systems, benchmark/peers and interop.
"""

__version__ = "0.1.0"
