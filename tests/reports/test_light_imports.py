"""What the pages need: a lean installation has no PyTorch."""

import subprocess
import sys


def test_no_heavy_package_is_imported():
    code = (
        "import sys, didvit.reports, didvit.inspection.page, didvit.cli.report\n"
        "heavy = {'torch', 'scipy', 'timm', 'safetensors', 'matplotlib', 'torchvision'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
