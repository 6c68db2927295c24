"""What a training run is made of: batches, the step, answers, checkpoints, the log, the finished run."""
