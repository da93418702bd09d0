"""From a model's scores to its page."""

import numpy as np

from didvit.data.table import DataError, Table
from didvit.evaluation.scores import Scores
from didvit.inference.predictor import Predictor
from didvit.pages.markup import Html
from didvit.reports.measure import measure
from didvit.reports.model_page import Circumstances, model_page
from didvit.reports.pictures import picture_cases
from didvit.reports.rule import Rule
from didvit.reports.subject import Subject


def make_page(
    predictor: Predictor,
    subject: Subject,
    table: Table,
    scores: Scores,
    rule: Rule,
    circumstances: Circumstances,
    resamples: int = 1000,
) -> Html:
    """The page about a model that was scored.

    Args:
        predictor: The model, which sees the images of the worst mistakes again.
        subject: What its folder says.
        table: What was scored.
        scores: Result of `score`.
        rule: How the model's logits become probabilities and decisions.
        circumstances: What the figures depend on besides.
        resamples: Number of resamples for the interval of mAP; 0 leaves it out.

    Raises:
        DataError: There are no scores: no image could be read.
        NonFiniteScoreError, NonFiniteMapError: The model's weights are damaged.
    """
    if not len(scores.targets):
        raise DataError(f"no image can be read: {'; '.join(scores.failures[:1])}")
    images = [table.images[index] for index in scores.indices.tolist()]
    logits = scores.fused(predictor.method.fusion)
    measures = measure(
        rule.probabilities(logits),
        scores.targets,
        np.asarray(rule.thresholds),
        table.labels,
        [str(image) for image in images],
        resamples,
    )
    cases = (*measures.false_positives, *measures.misses)
    pictures = picture_cases(predictor, images, cases)
    return model_page(subject, measures, rule, circumstances, pictures)
