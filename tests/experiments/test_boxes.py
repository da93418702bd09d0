from PIL import Image

from didvit.experiments.boxes import box_markdown, draw_boxes


def quality(value):
    return {
        "label_mean": value,
        "label_mean_interval": [value - 5, value + 5],
        "overall": value + 1,
    }


def row(name, value):
    measures = ("pointing_game", "corloc", "mean_iou", "coverage")
    return {"name": name, "area": value, **dict.fromkeys(measures, quality(value))}


RESULTS = {
    **{"model": "mine", "data": ["VOC:test", "coco80"], "images": 3, "pairs": 4, "objects": 5},
    "rows": [row("none", 50.0), row("random boxes", 20.0)],
}


def test_a_table_of_boxes_leaves_out_what_says_nothing():
    text = box_markdown(RESULTS)
    assert "3 images with 4 labels and 5 objects: `VOC:test`, `coco80`." in text
    cell = "50.0 (45-55); 51.0"
    assert f"| none | {cell} | {cell} | {cell} | {cell} | 50 |" in text
    assert "| random boxes |  | 20.0 (15-25); 21.0 |" in text


def test_boxes_are_drawn(tmp_path):
    draw_boxes(RESULTS, tmp_path / "boxes.png")
    with Image.open(tmp_path / "boxes.png") as picture:
        assert picture.format == "PNG"
