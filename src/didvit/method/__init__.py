"""Diverse Instance Discovery (DiD, ICME 2022): the paper, to be read in one sitting.

An image passes through the *backbone*, which gives patch tokens and the attention of every block.
The *head*, a 1x1 convolution, turns the tokens into one semantic map per category, whose means are
the global logits. The *rollout* of the class token through the attention gives one spatial map.
*Re-constraint* combines the two into instance maps. The K categories of highest logit are
*selected*, and each one's instance map is *localized* as a box. *Views* are cut from the image at
the boxes (and at tiles, if set), and pass through the same backbone and head. The maximum over an
image's views gives the local logits. *Fusion* of global and local logits is the prediction.

    paper                                          file
    2.1    Vision Transformer, eqs. 1-2, 4         backbone.py
    2.2.1  semantic category-aware module, eq. 3   semantic.py
    2.2.1  selection of categories, table 5        selection.py
    2.2.2  spatial relationship-aware, eq. 5       rollout.py
    2.2.3  re-constraint, eqs. 6-8, table 3        reconstraint.py
    2.2.4  dynamic instance localization, table 4  localization.py, views.py
    2.2    figure 1: the whole; 3.1: the loss      model.py
    3.1    the settings                            config.py

Dimensions in the shapes:

    B images      C categories      K = top_n boxes      V views: K boxes, then tiles
    H W input, in pixels            h w patch grid, N = h * w patches
    D width of a token              L blocks             M heads
    T tokens: prefix tokens (class token, registers), then the N patches

Pixels are floats in [0, 1]; only the backbone normalizes them. Boxes are ``[x0, y0, x1, y1)`` in
whole pixels of the named image, the end exclusive. This package imports nothing else of didvit.
"""
