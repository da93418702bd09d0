"""Data sets: from files on the disk to upright images and targets, and to training batches.

`datasets` finds the format of a path and asks its reader in `formats`, which gives a `Listing`.
`table` joins listings into a `Table` of images and labels, with notes on what was assumed and
problems of what was passed over; `findings` looks for labels that cannot be learned or measured.

`images` reads one image of whatever kind (`kinds`, `pixels`, `damage`, `silence`), and `reading`
has threads read many, in order. `stream` gives the batches of training, a pure function of seed and
step, read by other processes (`workers`), with the crops of `transforms`. `boxes` reads where
objects are, for measuring alone.

Of these, `stream`, `workers` and `transforms` need PyTorch; nothing else does.
"""
