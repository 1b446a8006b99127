"""Formats of annotation tools and trainers, written and read.

A writer takes a `Dataset`: images in the order in which they should be annotated, all classes, and
proposals or annotations. A reader gives what a COCO file would hold (`images`, `categories`,
`annotations`), which `ofds.use.coco.dataset_of` checks and repairs like any other; an image has
`"labelled": true` or `false` where the format says whether somebody looked at it.
"""
