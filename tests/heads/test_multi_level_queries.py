"""Label queries over several levels: each decoder layer reads its own level."""

import torch

from didvit.heads.multi_level_queries import MultiLevelQueriesHead
from didvit.heads.query2label import sine_positions


def test_each_layer_reads_its_level():
    head = MultiLevelQueriesHead(8, 5).eval()
    levels = torch.randn(2, 3, 8, 2, 3)  # B S D h w
    maps, logits = head(levels.flatten(1, 2))
    positions = sine_positions(2, 3, 8)
    for b in range(2):
        queries = head.label_queries[None]
        for layer, level in zip(head.layers, levels[b], strict=True):
            features = torch.stack([level[:, y, x] for y in range(2) for x in range(3)])[None]
            queries, attention = layer(queries, features + positions, features)
        torch.testing.assert_close(maps[b : b + 1].flatten(2), attention)
        torch.testing.assert_close(logits[b : b + 1], head.classifiers(queries))


def test_every_level_matters():
    head = MultiLevelQueriesHead(8, 5).eval()
    levels = torch.randn(1, 3, 8, 2, 3)
    _, logits = head(levels.flatten(1, 2))
    for level in range(3):
        changed = levels.clone()
        changed[:, level] += 1
        assert not torch.allclose(head(changed.flatten(1, 2)).logits, logits)
