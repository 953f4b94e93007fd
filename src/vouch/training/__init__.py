"""Training: configuration, sampling, batches, schedule, checkpoints and the loop."""
