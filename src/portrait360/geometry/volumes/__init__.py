"""Radiance fields: hash grid, occupancy grid, ray marching."""
