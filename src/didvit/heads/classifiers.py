"""One linear classifier for every category, each for a vector of its own."""

from jaxtyping import Float
from torch import Tensor, nn


class CategoryClassifiers(nn.Linear):
    """``s_c = w_c · v_c + b_c``: row c of a linear layer sees the vector of category c alone.

    Args:
        width: Width E of a category's vector.
        num_categories: Number C of categories.
    """

    def __init__(self, width: int, num_categories: int):
        super().__init__(width, num_categories)

    def forward(self, input: Float[Tensor, "B C E"]) -> Float[Tensor, "B C"]:
        """Every category's logit, from its vector in the input."""
        return (input * self.weight).sum(-1) + self.bias
