"""One linear classifier for every category, each over the category's own vector."""

from jaxtyping import Float
from torch import Tensor, nn


class CategoryClassifiers(nn.Linear):
    """Classifiers ``s_c = w_c · v_c + b_c``: row c of a linear layer reads vector c alone.

    Args:
        width: Width E of a category's vector.
        num_categories: Number C of categories.
    """

    def __init__(self, width: int, num_categories: int):
        super().__init__(width, num_categories)

    def forward(self, input: Float[Tensor, "B C E"]) -> Float[Tensor, "B C"]:
        """Compute every category's logit from its vector."""
        # Where a vector is added to a sum that drops its axis, OpenVINO 2026.4 adds element b to
        # image b, not element c to category c. An axis that is dropped later is not in its way.
        products = (input * self.weight).sum(-1, keepdim=True)
        return products.squeeze(-1) + self.bias
