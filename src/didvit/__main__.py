"""``python -m didvit``, which torchrun can start too."""

from didvit.cli import main

main()
