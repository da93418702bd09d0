"""Readers of data sets, one file per format; each gives a `didvit.data.table.Listing`.

`rows`: CSV (with `csv_text` and `cells`) and JSON lines. `voc`: Pascal VOC's layout (which
`voc_download` fetches), and folders of images with XML files (`xml`). `coco`: files of instances.
`arrow`: data sets that Hugging Face's library has saved. `shards`: WebDataset's tar files. Folders
of one label each are read by `didvit.data.datasets`, which also finds out which format a path is
of.

A reader declares the labels of its format where the format has them, says what it assumed in
``notes``, and counts in ``problems`` what it passed over. It never drops anything in silence.
"""
