"""How a head looks from all sides, measured without a truth: one figure for each fault that people see."""
