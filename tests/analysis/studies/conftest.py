"""A small study of toy scenes that several tests read."""

import pytest

from analysis.studies import Study, open_study, run_study

SCENES = 12


@pytest.fixture(scope="session")
def request_():
    """Five measures over toy scenes."""
    return Study(data=f"toy:{SCENES}", measures=("maps", "maps_surgery", "layers", "lens", "blame"))


@pytest.fixture(scope="session")
def folder(request_, tmp_path_factory):
    """The finished folder of `request_`."""
    path = tmp_path_factory.mktemp("study") / "toy"
    assert run_study(request_, path, device="cpu").complete
    return path


@pytest.fixture
def opened(folder):
    """The folder, opened."""
    return open_study(folder)
