"""Data sets, images and the stream of training batches."""
