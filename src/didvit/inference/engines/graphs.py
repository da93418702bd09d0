"""What is the same for all engines that run the two graphs of a model folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from didvit.config import DiDConfig
from didvit.config.serialization import to_json
from didvit.decisions.store import weights_digest
from didvit.inference.engine import EngineError, GlobalPass, Size
from didvit.modeling.folder import WEIGHTS

METADATA = "didvit"
"""Key of a graph's metadata: JSON, a `GraphDescription`."""

GRAPH_FORMAT = 2

BAKED = ("normalization", "rollout_order", "reconstraint")
"""Settings of the method that a graph has computed into it."""

SIZES = ("input_size", "patch_size")

OUTPUTS = ("logits", "features", "semantic_maps", "instance_maps", "spatial_map")
"""Of a global graph; of other graphs, the first alone."""

AGAIN = "export the model again with 'didvit export'"


class GraphDescription(NamedTuple):
    """What a graph says of itself.

    Attributes:
        format: Version of this description.
        input_size: Height and width of its images, in pixels.
        patch_size: Height and width of a patch.
        precision: fp32, fp16 or int8.
        weights: SHA-256 of the file of weights that it was made with.
        method: Settings of the method, of which those in `BAKED` are part of the graph.
    """

    format: int
    input_size: Size
    patch_size: Size
    precision: str
    weights: str
    method: dict[str, Any]

    @classmethod
    def parse(cls, path: Path, text: str | None) -> Self:
        """The description in a graph's metadata.

        Raises:
            EngineError: There is none, it is damaged or of another version.
        """
        if text is None:
            raise EngineError(f"{path} has no metadata of didvit; {AGAIN}")
        try:
            content = json.loads(text)
            version = content["format"]
            if version != GRAPH_FORMAT:
                raise EngineError(
                    f"{path} has format {version}, and this version of didvit reads "
                    f"{GRAPH_FORMAT}; {AGAIN}"
                )
            for name in SIZES:
                height, width = map(int, content[name])
                content[name] = height, width
            return cls(**content)
        except EngineError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EngineError(f"{path} has damaged metadata ({error!r}); {AGAIN}") from error

    def text(self) -> str:
        """JSON for the metadata."""
        return json.dumps(self._asdict(), sort_keys=True)


def weights_of(folder: Path) -> str:
    """SHA-256 of a folder's file of weights.

    Raises:
        EngineError: There is none.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise EngineError(f"{path} is missing, and the graphs read it; {AGAIN}")
    return weights_digest(path)


def check_graph(path: Path, description: GraphDescription, weights: str) -> None:
    """Refuse a graph that was made with other weights than the folder's.

    Raises:
        EngineError: Names both digests.
    """
    if description.weights != weights:
        raise EngineError(
            f"{path} was made with other weights (digest {description.weights[:12]}) than "
            f"{WEIGHTS} beside it ({weights[:12]}); {AGAIN}"
        )


def check_method(graph: GraphDescription, views: GraphDescription, method: DiDConfig) -> None:
    """Refuse settings that are other than those that the graphs were made with.

    Raises:
        EngineError: Names the setting, both values, and the mend.
    """
    mend = "expected the same, or the engine pytorch"
    wanted = to_json(method)
    if method.top_n and not graph.method["top_n"]:
        raise EngineError(
            f"top_n is {method.top_n}, and the graph was made for the whole image alone (top_n 0); "
            f"{mend}"
        )
    for name in BAKED:
        if method.top_n and wanted[name] != graph.method[name]:
            raise EngineError(
                f"{name} is {wanted[name]!r}, and the graph was made with "
                f"{graph.method[name]!r}; {mend}"
            )
    size = view_size(method, graph.input_size, graph.patch_size)
    if method.top_n and size not in (views.input_size, graph.input_size):
        raise EngineError(
            f"view_scale is {method.view_scale:g}, which takes views of {size[0]}x{size[1]} "
            f"pixels, and the graph of views takes {views.input_size[0]}x{views.input_size[1]}; "
            f"{mend}"
        )


def view_size(method: DiDConfig, input_size: Size, patch_size: Size) -> Size:
    """Height and width of views: the input's sides times ``view_scale``, in whole patches."""
    height, width = (
        max(round(method.view_scale * side / patch), 1) * patch
        for side, patch in zip(input_size, patch_size, strict=True)
    )
    return height, width


def named_outputs(names: Sequence[str], values: Sequence[Any]) -> GlobalPass:
    """The outputs of a global graph.

    It has no spatial map if its model has no boxes, and no instance maps if those are the semantic
    maps.
    """
    by_name = dict(zip(names, values, strict=True))
    maps = by_name["semantic_maps"]
    return GlobalPass(
        by_name["logits"],
        by_name["features"],
        maps,
        by_name.get("instance_maps", maps),
        by_name.get("spatial_map"),
    )
