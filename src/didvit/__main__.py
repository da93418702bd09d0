"""``python -m didvit``, which torchrun can start too."""

from didvit.cli.main import main

main()
