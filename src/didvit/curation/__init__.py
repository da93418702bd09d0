"""What of a data set deserves a person's time: label errors, and what to label next.

    heads.py    a linear head on features, out of sample
    audit.py    labels that are probably wrong, ranked
    rank.py     photographs whose labels would teach the most
    page.py     label errors as a page

Only the command line imports this package.
"""
