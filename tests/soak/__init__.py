"""A year of recordings in compressed time, with faults from a seed: what must stay flat does. `make soak`."""
