"""How good a method is: metrics, frozen protocols, reports."""
