"""How good results are: pictures described and compared, against the rows of the papers."""
