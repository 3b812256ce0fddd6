"""A head that several files of tests look at."""

import numpy as np
import pytest

from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.fitted_head import make_fitted_head


@pytest.fixture(scope="session")
def head() -> Head:
    """The average head."""
    return make_fitted_head(np.zeros(60), np.zeros(52))
