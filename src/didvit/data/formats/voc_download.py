"""Archives of the Pascal VOC challenges, downloaded from Oxford's server."""

import hashlib
import shutil
import tarfile
from http.client import HTTPException
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.request import urlopen

from didvit.data.table import DataError
from didvit.files import whole_file

SERVER = "https://thor.robots.ox.ac.uk/pascal/VOC"
SECONDS = 60
"""Time for which the server may be silent."""


class Archive(NamedTuple):
    """An archive of a challenge.

    Attributes:
        path: Path on the server.
        md5: Digest of the file.
    """

    path: str
    md5: str


TRAINVAL_2007 = Archive("voc2007/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64")
TEST_2007 = Archive("voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f")
TRAINVAL_2012 = Archive("voc2012/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd")
ARCHIVES = {
    **{("2007", split): TRAINVAL_2007 for split in ("train", "val", "trainval")},
    ("2007", "test"): TEST_2007,
    **{("2012", split): TRAINVAL_2012 for split in ("train", "val", "trainval")},
}
"""By year and split."""


def download_voc(root: Path, year: Literal["2007", "2012"], split: str) -> Path:
    """Download the archive with a split to ``root``, unless it is there, and unpack it.

    Args:
        root: Receives the archive, some 0.5 to 2 GB, and ``VOCdevkit``.
        year: Of the challenge.
        split: train, val, trainval, or test of 2007; that of 2012 has to be asked of its server.

    Returns:
        The folder of the year, ``root/VOCdevkit/VOC2007``.

    Raises:
        DataError: It cannot be downloaded or unpacked.
    """
    try:
        if (year, split) not in ARCHIVES:
            raise ValueError("its server gives it on request alone")
        archive = ARCHIVES[year, split]
        file = root / Path(archive.path).name
        if not file.is_file() or _md5(file) != archive.md5:
            _download(f"{SERVER}/{archive.path}", archive.md5, file)
        with tarfile.open(file) as content:
            content.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on
            content.extractall(root)
    except (OSError, HTTPException, ValueError, tarfile.TarError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"VOC {year} {split} cannot be downloaded to {root} ({reason}); download it from "
            "host.robots.ox.ac.uk/pascal/VOC by other means and unpack it there"
        ) from error
    return root / "VOCdevkit" / f"VOC{year}"


def _download(url: str, md5: str, file: Path) -> None:
    with whole_file(file) as path:
        with urlopen(url, timeout=SECONDS) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        if (found := _md5(path)) != md5:
            raise ValueError(f"{url} has the MD5 digest {found}; expected {md5}")


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()
