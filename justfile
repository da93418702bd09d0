# Common tasks; `just --list` names them. They expect the environment of the README's second command.

bin := ".venv/bin/"

# lint, format and types
check:
    {{bin}}ruff check .
    {{bin}}ruff format --check .
    {{bin}}codespell
    {{bin}}lint-imports
    {{bin}}pyright --pythonpath {{bin}}python

# all tests
test:
    {{bin}}python -m pytest

# the documentation as a site, every warning an error
docs:
    {{bin}}pip install -q -e '.[docs]'
    {{bin}}mkdocs build --strict

# time and memory of inference against plain timm forwards
bench:
    {{bin}}python benchmarks/inference.py --output benchmarks/results/inference.json
