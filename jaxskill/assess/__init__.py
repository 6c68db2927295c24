"""A finished run and new videos -> answers and pictures: python -m jaxskill.assess."""

from jaxskill.assess import arguments


@arguments.takes(arguments.question)
def run(question: arguments.Question) -> tuple[dict[str, dict], dict[str, str]]:
  """Scores videos of one's own with a finished run, and says what decided.

  Args:
    workdir: folder of the run.
    videos: paths of video files or of folders of them, one or several; or none, and in their place
    features: paths of prepared features, .npy or .npz files or folders of them, one or several.
    out: folder that gets `<video>/assessment.json` and pictures; by default `assessments` in `workdir`.
    weights: of the network that extracts, as the run's features were made: a file of PyTorch weights or "random:SEED";
      of several streams {stream: one}.
    extractor: a recipe of features, e.g. "configs/features/pros_cons.py", where the run does not know its own.
    boxes, detector: where persons are, for recipes that cut them out: a csv table, or a network in an ONNX file.
    person: who is followed, for recipes of poses: "x,y" in pixels, or a csv table.
    labels: csv table video[,category][,difficulty], where the run compares within these; columns subject and date, as
      2024-05-31, show a person over time on the index.
    category, difficulty: of all videos that `labels` does not know otherwise: a name and a number.
    row_seconds: seconds from one row of features to the next, where they do not say; 0 takes those of training.
    row, criterion: name of the row of a table of ablations that answers, and of the score that is asked for where a run
      has learnt several; None is the first.
    fold, seed: name and number of the fold and the seed whose models alone answer; None is the mean over all.
    html: write a page beside each answer, which opens in a browser without a network, and an index of several.
    films: how pages come by their videos: "link" makes hard links where it can, "copy" copies; of "none", no picture of
      them is shown, in pictures neither, and what earlier answers showed of them is removed.
    pairs_to_label: write a page to say on which of two videos is better, so many times, always of the pair
      of which least is known.
    blur_faces: make faces unrecognizable in the films and pictures that are written, where features are poses; of
      others than the person who is followed, those that the detector of `weights` finds.
    free_ends: of `jaxskill.compare` alone.
    checkpoint: "last", the models of the end of training, or "validation", of the step that was best on validation
      videos.
    level: share of new videos whose score is to lie in its range; 0.9 needs nine videos that calibrate it.
    say: called with each text for the user.

  Returns:
    ({video: the content of its `assessment.json`}, {video, or what of it: why it failed}). An answer holds "score", the
    mean over the models, and "spread", in the unit of the labels or in rank score; "percentile" among the training
    videos; "range" [low, high] at "level", or None, and its "guarantee", a sentence; "attention", "curves", "segments"
    and "moments" that decided, in seconds; "warnings"; and more.

  Raises:
    ValueError: if nothing can be begun: no finished run, no such models, neither videos nor features or both, other
      weights than the run's; or if an answer to something else, or a file of the user's, would be overwritten.
  """
  from jaxskill.assess import scoring  # imports JAX, which a command does after it listens to signals
  return scoring.run(*question)
