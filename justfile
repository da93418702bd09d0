# Common tasks; `just --list` names them. They expect the environment of the README's second command.

bin := ".venv/bin/"

# lint, format, spelling, import contract and types
check:
    {{bin}}ruff check .
    {{bin}}ruff format --check .
    {{bin}}codespell
    {{bin}}lint-imports
    {{bin}}pyright --pythonpath {{bin}}python

# all tests, with the examples of docstrings and of the README
test:
    {{bin}}python -m pytest

# the documentation as a site, every warning an error
docs:
    {{bin}}pip install -q -e '.[docs]'
    {{bin}}mkdocs build --strict

# pages and pictures of results, from results/ and benchmarks/results/
results:
    {{bin}}python scripts/results.py

# time and memory: engines, inference against plain timm, training against a bare loop, the paper's step
bench data photos jpeg:
    {{bin}}python benchmarks/engines.py --photographs {{photos}} --count 60 --jpeg {{jpeg}} --output benchmarks/results/engines.json
    {{bin}}python benchmarks/memory.py --photograph examples/cat.jpg --output benchmarks/results/memory.json
    {{bin}}python benchmarks/inference.py --output benchmarks/results/inference.json
    {{bin}}python benchmarks/training.py --data {{data}}/coco18 --ema 0.998 --clip-norm 1 --steps 22 --output benchmarks/results/training-112.json
    {{bin}}python benchmarks/training.py --data {{data}}/coco18 --ema 0.998 --clip-norm 1 --steps 12 --size 224 --output benchmarks/results/training-224.json
    {{bin}}python benchmarks/recipe_steps.py --root {{data}}/VOCdevkit --output benchmarks/results/recipe-steps.json
