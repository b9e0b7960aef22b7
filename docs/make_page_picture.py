"""Makes `docs/page.png`, the top of a sweep's page: `docs/make_page_picture.py MCL_HOME NAME`."""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browser import chromium, opened  # noqa: E402  what the tests open the page with

from mcl_bench.cli.report import write_report  # noqa: E402

WIDTH = 1080
COLORS = 256


def main(home: Path, name: str) -> None:
    """Write the picture: from the top of the page to the end of the differences."""
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        page = write_report(home / "sweeps" / name, Path(place) / "report.html")
        with opened(browser, page, width=WIDTH) as found:
            found.draw_all()
            found.page.evaluate("window.scrollTo({top: 0, behavior: 'instant'})")
            end = found.page.locator("#differences").bounding_box()
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": end["y"] + end["height"] + 10}
            png = found.page.screenshot(full_page=True, clip=clip)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(HERE / "page.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
