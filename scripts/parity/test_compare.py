"""The comparison must be able to fail: `python -m unittest` in this directory."""

import unittest

import numpy as np

from compare import relative_error

WANT = np.array([1e-3, 2e-3, -1e-3])


class RelativeError(unittest.TestCase):
    def test_equal_is_zero(self):
        self.assertEqual(relative_error(WANT, WANT), 0.0)

    def test_does_not_depend_on_the_scale(self):
        self.assertAlmostEqual(relative_error(WANT * 1.01, WANT), 0.01)
        self.assertAlmostEqual(relative_error(WANT * 1.01e9, WANT * 1e9), 0.01)

    def test_zeros_where_small_values_are_right_is_one(self):
        self.assertEqual(relative_error(np.zeros(3), WANT), 1.0)

    def test_anything_where_zeros_are_right_is_infinite(self):
        self.assertEqual(relative_error(WANT, np.zeros(3)), np.inf)
        self.assertEqual(relative_error(np.zeros(3), np.zeros(3)), 0.0)

    def test_not_a_number_and_infinity_are_infinite(self):
        for bad in (np.nan, np.inf):
            self.assertEqual(relative_error(np.array([bad, 2e-3, -1e-3]), WANT), np.inf)
            self.assertEqual(relative_error(WANT, np.array([bad, 2e-3, -1e-3])), np.inf)

    def test_another_shape_is_infinite(self):
        self.assertEqual(relative_error(WANT[:2], WANT), np.inf)
        self.assertEqual(relative_error(WANT[None], WANT), np.inf)


if __name__ == "__main__":
    unittest.main()
