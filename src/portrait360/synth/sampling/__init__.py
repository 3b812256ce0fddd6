"""Sampling of random head parameters, and the catalogues of hairstyles, hats, species and colours."""
