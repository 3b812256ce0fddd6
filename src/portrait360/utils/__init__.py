"""Small helpers that know nothing about heads."""
