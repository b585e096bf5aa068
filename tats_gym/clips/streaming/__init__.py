"""From videos to batches of clips: their order, the loaders in this process and in workers, and the streams."""
