"""MLflow's own pages in a real browser: nested runs fold, and the leaderboard reads as one."""

from collections.abc import Iterator

import pytest
from browser import OPEN_MS, chromium
from mlflow_server import running_mlflow
from playwright.sync_api import Page, expect
from running import mcl_bench

pytestmark = pytest.mark.soak

CELLS = ("parts-convnet-ce", "parts-convnet-mc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Iterator[str]:
    """A server of the store of a home with one sweep."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    home = folder / "runs"
    mcl_bench(
        "sweep",
        str(folder / "tiny.yaml"),
        "search.trials=2",
        "confirm.seeds=3",
        home=home,
        ray=False,
    )
    with running_mlflow(f"sqlite:///{home / 'mlflow.db'}", folder / "server") as uri:
        yield uri


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 2400, "height": 900})
        page.set_default_timeout(OPEN_MS)
        yield page


def open_runs(page: Page, server: str, name: str, view: str = "") -> None:
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri=server).get_experiment_by_name(name)
    assert found is not None
    page.goto(f"{server}/#/experiments/{found.experiment_id}/runs{view}")


def test_the_runs_of_a_sweep_fold_into_cells_and_these_into_one(page: Page, server: str) -> None:
    open_runs(page, server, "tiny")
    grid = page.locator(".ag-root")
    expect(grid.get_by_text("tiny", exact=True)).to_be_visible(timeout=OPEN_MS)
    expect(grid.get_by_text(CELLS[0])).to_have_count(0)
    place = grid.locator("[role=gridcell]", has=page.get_by_text("tiny", exact=True))
    place.get_by_role("button").first.click()
    for cell in CELLS:
        expect(grid.get_by_text(cell, exact=True)).to_be_visible(timeout=OPEN_MS)
    expect(grid.get_by_text(f"{CELLS[0]}/search-0")).to_have_count(0)


def test_the_leaderboards_view_has_its_columns_and_the_best_first(page: Page, server: str) -> None:
    open_runs(page, server, "leaderboard", "?viewStateShareKey=leaderboard")
    grid = page.locator(".ag-root")
    for name in ("test/top1_mean", "difference", "p_adjusted", "tier"):
        expect(grid.get_by_text(name, exact=True)).to_be_visible(timeout=OPEN_MS)
    for cell in CELLS:
        expect(grid.get_by_text(f"tiny/{cell}")).to_be_visible(timeout=OPEN_MS)
    expect(page.get_by_text("tiny, parts · convnet: ")).to_be_visible(timeout=OPEN_MS)
