"""Labels in pictures are found as numpy finds them."""

import numpy as np
import pytest

from portrait360.utils.portrait_labels import Label, find_labels


@pytest.mark.parametrize("names", [(), (Label.HAIR,), (Label.FACE, Label.OBJECT, 255), (-1, 2)])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_labels_are_found_as_by_isin(names, kind):
    labels = np.random.default_rng(0).choice([-1, 0, 1, 2, 8, 14], (40, 30)).astype(np.int8).astype(kind)
    expected = np.isin(labels, np.array(names, int).astype(kind))
    assert (find_labels(labels, names) == expected).all()
