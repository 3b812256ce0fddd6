"""The clothes of an avatar: their neckline, colours and pattern."""
